#include "trlm/adapt/source.hpp"

#include <filesystem>
#include <fstream>

#include <sys/stat.h>

#include "support/catch.hpp"
#include "support/folder.hpp"

using namespace trlm::adapt;
namespace fs = std::filesystem;

namespace {

void write(const Folder& folder, const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(folder.path(name)).parent_path());
    std::ofstream(folder.path(name), std::ios::binary) << text;
}

std::string text_of(Source& source, const std::string& path) {
    const auto file = source.open(path);
    if (!file) return std::string(finding_info(file.error()[0].code).name);
    const auto bytes = read_whole(*file, 1000);
    if (!bytes) return std::string(finding_info(bytes.error()[0].code).name);
    return std::string(as_text(*bytes));
}

}  // namespace

TEST_CASE("a folder's files are opened beneath it and nowhere else") {
    const Folder folder;
    write(folder, "root/a/b.txt", "inside");
    write(folder, "outside.txt", "outside");
    fs::create_symlink("../outside.txt", folder.path("root/link"));
    fs::create_directory_symlink("..", folder.path("root/up"));
    fs::create_directory_symlink("a", folder.path("root/same"));
    REQUIRE(::mkfifo(folder.path("root/pipe").c_str(), 0600) == 0);
    auto source = Source::folder(folder.path("root"));
    REQUIRE(source);
    CHECK(text_of(*source, "a/b.txt") == "inside");
    CHECK(text_of(*source, "link") == "path_escape");
    CHECK(text_of(*source, "up/outside.txt") == "path_escape");
    CHECK(text_of(*source, "same/b.txt") == "path_escape");
    CHECK(text_of(*source, "pipe") == "path_escape");
    CHECK(text_of(*source, "a") == "path_escape");
    CHECK(text_of(*source, "a/b.txt/c") == "path_escape");
    CHECK(text_of(*source, "none") == "file_missing");
    CHECK(text_of(*source, "none/b.txt") == "file_missing");
    for (const char* path : {"", "/a/b.txt", "../outside.txt", "a/../a/b.txt", "./a/b.txt", "a//b",
                             "a\\b.txt", "a/b.txt/"}) {
        CHECK(text_of(*source, path) == "path_escape");
    }
    CHECK(text_of(*source, std::string("a\0b", 3)) == "path_escape");
    CHECK(source->opened() == std::vector<std::string>{"a/b.txt"});
}

TEST_CASE("a root that is a link is followed, as its caller named it") {
    const Folder folder;
    write(folder, "root/a.txt", "inside");
    fs::create_directory_symlink("root", folder.path("link"));
    auto source = Source::folder(folder.path("link"));
    REQUIRE(source);
    CHECK(text_of(*source, "a.txt") == "inside");
    CHECK(Source::folder(folder.path("none")).error().contains(FindingCode::file_missing));
    CHECK(Source::folder(folder.path("root/a.txt")).error().contains(FindingCode::file_unreadable));
}

TEST_CASE("an open file is the same file when its name leads to another") {
    const Folder folder;
    write(folder, "a.txt", "first");
    auto source = Source::folder(folder.path());
    REQUIRE(source);
    const auto file = source->open("a.txt");
    REQUIRE(file);
    write(folder, "b.txt", "second");
    fs::rename(folder.path("b.txt"), folder.path("a.txt"));
    const auto bytes = read_whole(*file, 100);
    REQUIRE(bytes);
    CHECK(as_text(*bytes) == "first");
}

TEST_CASE("a folder lists all that is no folder, links and pipes too, in bytewise order") {
    const Folder folder;
    write(folder, "b/c.txt", "");
    write(folder, "a.txt", "");
    write(folder, "B", "");
    fs::create_directory(folder.path("empty"));
    fs::create_directory_symlink("b", folder.path("link"));
    auto source = Source::folder(folder.path());
    REQUIRE(source);
    REQUIRE(source->can_list());
    CHECK(source->list().value() == std::vector<std::string>{"B", "a.txt", "b/c.txt", "link"});
    CHECK(source->opened().empty());
}

TEST_CASE("files in memory and of a host's own are opened by the same rules") {
    const std::string text = "content";
    Source memory = Source::memory({{"a/b", as_bytes(text)}});
    CHECK(text_of(memory, "a/b") == "content");
    CHECK(text_of(memory, "a/c") == "file_missing");
    CHECK(text_of(memory, "../b") == "path_escape");
    CHECK(memory.list().value() == std::vector<std::string>{"a/b"});

    std::vector<std::string> asked;
    Source host = Source::callback([&](const std::string& path) -> Result<SourceFile> {
        asked.push_back(path);
        return failure({.code = FindingCode::file_unreadable, .message = "offline"});
    });
    CHECK_FALSE(host.can_list());
    const auto refused = host.open("x");
    REQUIRE_FALSE(refused);
    CHECK(refused.error()[0].file == "x");
    CHECK(text_of(host, "a b") == "path_escape");
    CHECK(asked == std::vector<std::string>{"x"});  // a bad path never reaches the host
    CHECK(host.opened().empty());
}

TEST_CASE("a file that is too large for its purpose is not read") {
    const std::string text = "content";
    Source memory = Source::memory({{"a", as_bytes(text)}});
    const auto file = memory.open("a");
    REQUIRE(file);
    CHECK(read_whole(*file, 6).error().contains(FindingCode::limit_exceeded));
    CHECK(read_whole(*file, 7));
}
