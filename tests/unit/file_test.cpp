#include "trlm/adapt/file.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/folder.hpp"

using namespace trlm::adapt;
namespace fs = std::filesystem;

namespace {

void write_text(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

std::string read_text(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// The one finding of a failure, of this code, that names this file.
template <class T>
void check_failure(const Result<T>& result, FindingCode code, const std::string& file) {
    REQUIRE_FALSE(result);
    REQUIRE(result.error().size() == 1);
    CHECK(finding_info(result.error()[0].code).name == finding_info(code).name);
    CHECK(result.error()[0].file == file);
    CHECK_FALSE(result.error()[0].message.empty());
}

#if defined(__linux__)
/// How much of a mapping counts as memory of this process.
std::size_t resident_kib(Bytes mapping) {
    std::ostringstream address;
    address << std::hex << reinterpret_cast<std::uintptr_t>(mapping.data()) << '-';
    std::ifstream maps("/proc/self/smaps");
    bool found = false;
    for (std::string line; std::getline(maps, line);) {
        if (line.starts_with(address.str())) found = true;
        if (found && line.starts_with("Rss:")) return std::stoul(line.substr(4));
    }
    FAIL("the mapping is not there");
    return 0;
}
#endif

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a mapped file shows the file's bytes") {
    const Folder folder;
    write_text(folder.path("a"), "hello");
    const auto file = MappedFile::open(folder.path("a"));
    REQUIRE(file);
    CHECK(as_text(file->bytes()) == "hello");
}

TEST_CASE("a mapped file that was released is read again") {
    const Folder folder;
    const std::string text(300'000, 'x');
    write_text(folder.path("a"), text);
    write_text(folder.path("empty"), "");
    const auto file = MappedFile::open(folder.path("a"));
    REQUIRE(file);
    CHECK(as_text(file->bytes()) == text);
    file->release();
    CHECK(as_text(file->bytes()) == text);
#if defined(__linux__)
    CHECK(resident_kib(file->bytes()) >= text.size() / 1024);
    file->release();
    CHECK(resident_kib(file->bytes()) == 0);
#endif
    MappedFile::open(folder.path("empty"))->release();
}

TEST_CASE("a mapped file can be moved, and its bytes stay where they are") {
    const Folder folder;
    write_text(folder.path("a"), "hello");
    write_text(folder.path("b"), "world");
    auto a = MappedFile::open(folder.path("a"));
    auto b = MappedFile::open(folder.path("b"));
    REQUIRE((a && b));
    const std::byte* const address = a->bytes().data();
    MappedFile moved(std::move(*a));
    CHECK(moved.bytes().data() == address);
    moved = std::move(*b);
    CHECK(as_text(moved.bytes()) == "world");
}

TEST_CASE("a copied file stays what it was when it was read") {
    const Folder folder;
    const std::string path = folder.path("a");
    const std::string text(200'000, 'x');
    write_text(path, text);
    auto opened = MappedFile::open(path, FileReading::copied);
    REQUIRE(opened);
    const MappedFile file = std::move(*opened);
    fs::resize_file(path, 1);
    CHECK(as_text(file.bytes()) == text);
    file.release();  // there is no other place to read it from
    CHECK(as_text(file.bytes()) == text);
    write_text(folder.path("empty"), "");
    CHECK(MappedFile::open(folder.path("empty"), FileReading::copied)->bytes().empty());
    check_failure(MappedFile::open(folder.path("none"), FileReading::copied),
                  FindingCode::file_missing, folder.path("none"));
}

#if defined(__linux__)
TEST_CASE("a file that ends before its size is not copied") {
    // The system's own files are said to have a page, and hold less.
    const std::string path = "/sys/devices/system/cpu/online";
    REQUIRE(fs::exists(path));
    check_failure(MappedFile::open(path, FileReading::copied), FindingCode::file_unreadable, path);
}
#endif

TEST_CASE("an empty file is an empty span") {
    const Folder folder;
    write_text(folder.path("a"), "");
    const auto file = MappedFile::open(folder.path("a"));
    REQUIRE(file);
    CHECK(file->bytes().empty());
}

TEST_CASE("what is not there is missing, what is no regular file is unreadable") {
    const Folder folder;
    write_text(folder.path("a"), "hello");
    REQUIRE(::mkfifo(folder.path("pipe").c_str(), 0600) == 0);
    check_failure(MappedFile::open(folder.path("none")), FindingCode::file_missing,
                  folder.path("none"));
    check_failure(MappedFile::open(folder.path("a/b")), FindingCode::file_missing,
                  folder.path("a/b"));
    check_failure(MappedFile::open(""), FindingCode::file_missing, "");
    check_failure(MappedFile::open(folder.path()), FindingCode::file_unreadable, folder.path());
    check_failure(MappedFile::open("/dev/null"), FindingCode::file_unreadable, "/dev/null");
    // Nobody writes to this pipe: opening it must not wait.
    check_failure(MappedFile::open(folder.path("pipe")), FindingCode::file_unreadable,
                  folder.path("pipe"));
    const std::string with_nul = folder.path("a") + std::string(1, '\0') + "b";
    check_failure(MappedFile::open(with_nul), FindingCode::file_missing, with_nul);
}

TEST_CASE("a file without permission is unreadable") {
    const Folder folder;
    write_text(folder.path("a"), "hello");
    fs::permissions(folder.path("a"), fs::perms::none);
    const auto file = MappedFile::open(folder.path("a"));
    if (::geteuid() == 0) {
        CHECK(file);  // root reads everything
    } else {
        check_failure(file, FindingCode::file_unreadable, folder.path("a"));
    }
}

TEST_CASE("an output file appears with all its bytes when it is committed") {
    const Folder folder;
    auto file = OutputFile::create(folder.path("out.slm"), 11);
    REQUIRE(file);
    REQUIRE(file->write(as_bytes("hello ")));
    REQUIRE(file->write(as_bytes("there")));
    REQUIRE(file->write_at(0, as_bytes("J")));

    const Names before = folder.names();
    REQUIRE(before.size() == 1);
    CHECK(before[0].size() == std::string(".out.slm.trlm-XXXXXXXX.tmp").size());
    CHECK(before[0].starts_with(".out.slm.trlm-"));
    CHECK(before[0].ends_with(".tmp"));

    REQUIRE(file->commit(/*replace=*/false));
    CHECK(folder.names() == Names{"out.slm"});
    CHECK(read_text(folder.path("out.slm")) == "Jello there");
}

TEST_CASE("an output file of many pieces, brought to the disk before it is committed") {
    const Folder folder;
    const std::string piece(3'000'000, 'p');  // several of them start the writing back
    auto file = OutputFile::create(folder.path("out"), 10 * piece.size());
    REQUIRE(file);
    for (int i = 0; i < 10; ++i)
        REQUIRE(file->write(as_bytes(piece)));
    REQUIRE(file->write_at(5, as_bytes("patched")));
    REQUIRE(file->synchronize());
    CHECK_FALSE(fs::exists(folder.path("out")));
    REQUIRE(file->commit(false));
    const std::string content = read_text(folder.path("out"));
    CHECK(content.size() == 10 * piece.size());
    CHECK(content.substr(0, 13) == "ppppppatchedp");
    CHECK(folder.names() == Names{"out"});
}

TEST_CASE("an output file that is not committed leaves nothing") {
    const Folder folder;
    {
        auto file = OutputFile::create(folder.path("out"), 100);
        REQUIRE(file);
        REQUIRE(file->write(as_bytes("hello")));
        CHECK(folder.names().size() == 1);
    }
    CHECK(folder.names().empty());
    {
        auto first = OutputFile::create(folder.path("out"), 0);
        auto second = OutputFile::create(folder.path("out"), 0);
        REQUIRE((first && second));
        *first = std::move(*second);  // the first one's file goes
        CHECK(folder.names().size() == 1);
    }
    CHECK(folder.names().empty());
}

TEST_CASE("room that was reserved and not used is given back") {
    const Folder folder;
    auto file = OutputFile::create(folder.path("out"), 100'000);
    REQUIRE(file);
    REQUIRE(file->write(as_bytes("hello")));
    REQUIRE(file->commit(false));
    CHECK(read_text(folder.path("out")) == "hello");
}

TEST_CASE("an existing target stays unless it may be replaced") {
    const Folder folder;
    write_text(folder.path("out"), "old");
    {
        auto file = OutputFile::create(folder.path("out"), 3);
        REQUIRE(file);
        REQUIRE(file->write(as_bytes("new")));
        check_failure(file->commit(/*replace=*/false), FindingCode::usage_error,
                      folder.path("out"));
        check_failure(file->commit(/*replace=*/true), FindingCode::output_failed,
                      folder.path("out"));
    }
    CHECK(folder.names() == Names{"out"});
    CHECK(read_text(folder.path("out")) == "old");

    auto file = OutputFile::create(folder.path("out"), 3);
    REQUIRE(file);
    REQUIRE(file->write(as_bytes("new")));
    CHECK(read_text(folder.path("out")) == "old");
    REQUIRE(file->commit(/*replace=*/true));
    CHECK(folder.names() == Names{"out"});
    CHECK(read_text(folder.path("out")) == "new");
}

TEST_CASE("a published file can be taken back, one that has replaced another stays") {
    const Folder folder;
    const auto publish = [&](const std::string& name) {
        auto file = OutputFile::create(folder.path(name), 3);
        REQUIRE(file);
        REQUIRE(file->write(as_bytes("new")));
        REQUIRE(file->withdraw());  // nothing is published yet
        REQUIRE(file->commit(/*replace=*/true));
        return std::move(*file);
    };
    auto fresh = publish("fresh");
    CHECK(folder.names() == Names{"fresh"});
    REQUIRE(fresh.withdraw());
    CHECK(folder.names().empty());
    REQUIRE(fresh.withdraw());

    write_text(folder.path("out"), "old");
    auto replacing = publish("out");
    check_failure(replacing.withdraw(), FindingCode::output_failed, folder.path("out"));
    CHECK(read_text(folder.path("out")) == "new");

    auto gone = publish("gone");
    fs::remove(folder.path("gone"));
    check_failure(gone.withdraw(), FindingCode::output_failed, folder.path("gone"));
}

TEST_CASE("of files that belong together, one that is taken back brings the old one back") {
    const Folder folder;
    write_text(folder.path("old"), "before");
    auto last = OutputFile::create(folder.path("last"), 0);
    REQUIRE(last);
    const auto publish = [&](const std::string& name) {
        auto file = OutputFile::create(folder.path(name), 3);
        REQUIRE(file);
        REQUIRE(file->write(as_bytes("new")));
        REQUIRE(file->commit_before(*last, /*replace=*/true));
        CHECK(read_text(folder.path(name)) == "new");
        return std::move(*file);
    };
    {
        auto replacing = publish("old");
        auto fresh = publish("fresh");
        REQUIRE(replacing.withdraw());
        REQUIRE(fresh.withdraw());
    }
    CHECK(read_text(folder.path("old")) == "before");
    {
        const auto replacing = publish("old");
        const auto fresh = publish("fresh");
        REQUIRE(last->commit(/*replace=*/false));
    }
    CHECK(folder.names() == Names{"fresh", "last", "old"});
    CHECK(read_text(folder.path("old")) == "new");
}

TEST_CASE("a link in the target's place is replaced, what it leads to is not touched") {
    const Folder folder;
    write_text(folder.path("real"), "old");
    fs::create_symlink("real", folder.path("out"));
    fs::create_symlink("nothing", folder.path("dangling"));
    const auto write_to = [&](const std::string& name, bool replace) {
        auto file = OutputFile::create(folder.path(name), 3);
        REQUIRE(file);
        REQUIRE(file->write(as_bytes("new")));
        return file->commit(replace);
    };
    check_failure(write_to("dangling", false), FindingCode::usage_error, folder.path("dangling"));
    REQUIRE(write_to("out", true));
    CHECK(read_text(folder.path("real")) == "old");
    CHECK(read_text(folder.path("out")) == "new");
    CHECK_FALSE(fs::is_symlink(folder.path("out")));
}

TEST_CASE("a folder in the target's place makes the output fail") {
    const Folder folder;
    fs::create_directory(folder.path("out"));
    auto file = OutputFile::create(folder.path("out"), 0);
    REQUIRE(file);
    check_failure(file->commit(/*replace=*/true), FindingCode::output_failed, folder.path("out"));
}

TEST_CASE("a committed file has the mode that the process's mask leaves") {
    const Folder folder;
    const mode_t mask = ::umask(027);
    auto file = OutputFile::create(folder.path("out"), 0);
    ::umask(mask);
    REQUIRE(file);
    REQUIRE(file->commit(false));
    CHECK(fs::status(folder.path("out")).permissions() == static_cast<fs::perms>(0640));
}

TEST_CASE("names up to the longest that the file system takes") {
    const Folder folder;
    for (const std::string& name :
         {std::string(255, 'n'), std::string(240, 'n'),
          "n" + std::string(126, 'n') + "\u00e9\u00e9",
          std::string(118, 'n') + std::string("\xc3\xa9\xc3\xa9\xc3\xa9", 6) +
              std::string(118, 'n')}) {
        auto file = OutputFile::create(folder.path(name), 0);
        REQUIRE(file);
        for (const std::string& made : folder.names()) {
            CHECK(made.size() <= 255);
        }
        REQUIRE(file->commit(false));
        CHECK(fs::exists(folder.path(name)));
    }
    const std::string too_long = folder.path(std::string(256, 'n'));
    check_failure(OutputFile::create(too_long, 0), FindingCode::output_failed, too_long);
}

TEST_CASE("no output without a folder and a name") {
    const Folder folder;
    write_text(folder.path("file"), "");
    for (const std::string& path :
         {folder.path("none/out"), folder.path("file/out"), folder.path("out/"), folder.path("."),
          folder.path(".."), std::string(), std::string("/"),
          folder.path("a") + std::string(1, '\0')}) {
        CAPTURE(path);
        check_failure(OutputFile::create(path, 0), FindingCode::output_failed, path);
    }
    CHECK(folder.names() == Names{"file"});
}

TEST_CASE("bytes are read back and overwritten only where some were written") {
    const Folder folder;
    auto file = OutputFile::create(folder.path("out"), 100);
    REQUIRE(file);
    REQUIRE(file->write(as_bytes("hello")));
    std::vector<std::byte> buffer(3);
    REQUIRE(file->read_at(2, buffer));
    CHECK(as_text(buffer) == "llo");
    check_failure(file->read_at(3, buffer), FindingCode::output_failed, folder.path("out"));
    check_failure(file->write_at(3, buffer), FindingCode::output_failed, folder.path("out"));
    // After a failure there is nothing to publish.
    check_failure(file->commit(false), FindingCode::output_failed, folder.path("out"));
    CHECK_FALSE(fs::exists(folder.path("out")));
}

TEST_CASE("an output past the limit of a file's size fails and leaves nothing") {
    const Folder folder;
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    void (*const handler)(int) = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit lowered{.rlim_cur = 1000, .rlim_max = before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &lowered) == 0);

    const auto reserved = OutputFile::create(folder.path("out"), 5000);
    auto unreserved = OutputFile::create(folder.path("out"), 0);
    REQUIRE(unreserved);
    const std::vector<std::byte> bytes(5000);
    const Status written = unreserved->write(bytes);
    const Status committed = unreserved->commit(false);

    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    check_failure(reserved, FindingCode::output_failed, folder.path("out"));
    check_failure(written, FindingCode::output_failed, folder.path("out"));
    check_failure(committed, FindingCode::output_failed, folder.path("out"));
    unreserved = failure(Findings());
    CHECK(folder.names().empty());
}

TEST_CASE("the same file under several names") {
    const Folder folder;
    write_text(folder.path("a"), "x");
    write_text(folder.path("b"), "x");
    fs::create_symlink("a", folder.path("link"));
    fs::create_hard_link(folder.path("a"), folder.path("hard"));
    CHECK(same_file(folder.path("a"), folder.path("a")));
    CHECK(same_file(folder.path("a"), folder.path("./a")));
    CHECK(same_file(folder.path("a"), folder.path("link")));
    CHECK(same_file(folder.path("hard"), folder.path("a")));
    CHECK_FALSE(same_file(folder.path("a"), folder.path("b")));
    CHECK_FALSE(same_file(folder.path("none"), folder.path("none")));
}

TEST_CASE("a folder's packages in bytewise order") {
    const Folder folder;
    for (const char* name : {"b.alr1", "a.asp1", "B.adp1", "\xc3\xa9.adp1", "a.adp1", "a.slm",
                             "a.ADP1", "adp1", "a.adp1.tmp", "notes.txt"}) {
        write_text(folder.path(name), "");
    }
    fs::create_directory(folder.path("sub.adp1"));
    write_text(folder.path("sub.adp1/inner.adp1"), "");
    fs::create_symlink("b.alr1", folder.path("c.alr1"));
    fs::create_symlink("sub.adp1", folder.path("d.alr1"));
    fs::create_symlink("nothing", folder.path("e.alr1"));  // must be missed, not overlooked

    const Names expected = {folder.path("B.adp1"),       folder.path("a.adp1"),
                            folder.path("a.asp1"),       folder.path("b.alr1"),
                            folder.path("c.alr1"),       folder.path("e.alr1"),
                            folder.path("\xc3\xa9.adp1")};
    const auto packages = list_packages(folder.path());
    REQUIRE(packages);
    CHECK(*packages == expected);
    const auto with_slash = list_packages(folder.path() + "/");
    REQUIRE(with_slash);
    CHECK(*with_slash == expected);
}

TEST_CASE("a folder without packages") {
    const Folder folder;
    check_failure(list_packages(folder.path()), FindingCode::file_missing, folder.path());
    check_failure(list_packages(folder.path("none")), FindingCode::file_missing,
                  folder.path("none"));
    write_text(folder.path("a.adp1"), "");
    check_failure(list_packages(folder.path("a.adp1")), FindingCode::file_unreadable,
                  folder.path("a.adp1"));
}
