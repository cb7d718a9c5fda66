// Verifies a bundle whose files the program fetches by itself: steps FOLDER
#include <array>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

#include <trlm/adapt/chain.hpp>

using namespace trlm::adapt;

/// Stands for a download, from wherever the program gets its files.
static std::ifstream start_download(const std::string& folder, const std::string& path) {
    return std::ifstream(folder + "/" + path, std::ios::binary | std::ios::ate);
}

/// Hands the file to the chain in the pieces in which it arrives.
static void download(std::ifstream& file, Chain& chain) {
    if (!chain.open(static_cast<std::uint64_t>(file.tellg()))) return;  // of a wrong size
    file.seekg(0);
    std::array<char, 65536> piece{};
    while (file.read(piece.data(), piece.size()), file.gcount() > 0) {
        const std::string_view got(piece.data(), static_cast<std::size_t>(file.gcount()));
        if (!chain.feed(as_bytes(got))) return;  // more bytes than it had at first
    }
    chain.close();
}

int main(int argc, char** argv) {
    if (argc != 2) return static_cast<int>(ExitCode::usage);

    Chain chain;
    while (const WantedFile* const wanted = chain.wanted()) {
        std::printf("%-17s  %s\n", to_string(wanted->gate).data(), wanted->path.c_str());
        std::ifstream file = start_download(argv[1], wanted->path);
        if (file) {
            download(file, chain);
            continue;
        }
        Findings why;
        why.add({.code = FindingCode::file_missing, .message = "the server has no such file"});
        chain.refuse(std::move(why));
    }
    for (const Finding& finding : chain.report().findings) {
        std::fprintf(stderr, "%s: %s [%s]\n", finding.file.c_str(), finding.message.c_str(),
                     finding_info(finding.code).name.data());
    }
    return static_cast<int>(chain.report().findings.exit_code());
}
