// Command lines: whatever they say, the tool ends with one of its exit codes, says why it failed,
// and with --json prints one JSON object. It runs in a folder of its own with a few small files.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include "command_line.hpp"
#include "support.hpp"

extern "C" [[gnu::weak]] void __sanitizer_set_report_fd(void* descriptor);

using namespace trlm::adapt;
using fuzz::require;

namespace {

namespace fs = std::filesystem;

/// A stream of the process that goes into memory while it is alive.
class Captured {
public:
    Captured(int stream, int memory) : stream_(stream), memory_(memory), saved_(::dup(stream)) {
        require(saved_ >= 0 && ::ftruncate(memory_, 0) == 0, "a stream can be captured");
        ::lseek(memory_, 0, SEEK_SET);
        require(::dup2(memory_, stream_) == stream_, "a stream can be captured");
    }
    Captured(const Captured&) = delete;
    Captured& operator=(const Captured&) = delete;
    ~Captured() {
        ::dup2(saved_, stream_);
        ::close(saved_);
    }

    [[nodiscard]] std::string text() const {
        std::string text(static_cast<std::size_t>(::lseek(memory_, 0, SEEK_END)), '\0');
        text.resize(static_cast<std::size_t>(
            std::max<ssize_t>(0, ::pread(memory_, text.data(), text.size(), 0))));
        return text;
    }

private:
    int stream_;
    int memory_;
    int saved_;
};

struct Run {
    int exit_code;
    std::string out;
    std::string err;
};

/// Runs a command line in a folder; whoever calls has inputs that lie elsewhere.
Run run(const std::vector<std::string>& words, const fs::path& folder) {
    static const int out_memory = ::memfd_create("out", MFD_CLOEXEC);
    static const int err_memory = ::memfd_create("err", MFD_CLOEXEC);
    std::vector<const char*> values{"trlm-adapt"};
    for (const std::string& word : words)
        values.push_back(word.c_str());
    const Captured out(STDOUT_FILENO, out_memory);
    const Captured err(STDERR_FILENO, err_memory);
    const fs::path before = fs::current_path();
    fs::current_path(folder);
    const int exit_code = cli::run_command_line(static_cast<int>(values.size()), values.data());
    fs::current_path(before);
    return {exit_code, out.text(), err.text()};
}

/// The folder that everything happens in, with the files that every run finds there.
class Folder {
public:
    Folder() {
        // A sanitizer's report must not go where the tool's messages are captured.
        if (__sanitizer_set_report_fd != nullptr) {
            const std::intptr_t report = ::dup(STDERR_FILENO);
            __sanitizer_set_report_fd(reinterpret_cast<void*>(report));
        }
        std::string name = (fs::temp_directory_path() / "trlm-fuzz-XXXXXX").string();
        require(::mkdtemp(name.data()) != nullptr, "there is a temporary folder");
        path_ = name;
        const fs::path vectors = FUZZ_VECTORS;
        for (const auto& [short_name, from] :
             std::map<std::string, std::string>{{"m", "models/base_f32.slm"},
                                                {"q8", "models/base_q8_0.slm"},
                                                {"q4", "models/base_q4_0.slm"},
                                                {"d", "adapters/dense.adp1"},
                                                {"s", "adapters/sparse.asp1"},
                                                {"b", "adapters/mask.asp1"},
                                                {"l", "adapters/lowrank.alr1"}}) {
            std::ifstream file(vectors / from, std::ios::binary);
            require(file.good(), "the vectors are there");
            files_[short_name].assign(std::istreambuf_iterator<char>(file), {});
        }
        restore();
        learn_words();
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }

    /// The folder as every run finds it.
    void restore() {
        for (const auto& entry : fs::directory_iterator(path_)) {
            const auto file = files_.find(entry.path().filename().string());
            if (file == files_.end() || !entry.is_regular_file() ||
                entry.last_write_time() != written_[file->first]) {
                fs::remove_all(entry.path());
            }
        }
        for (const auto& [name, content] : files_) {
            if (fs::exists(path_ / name)) continue;
            std::ofstream(path_ / name, std::ios::binary) << content;
            written_[name] = fs::last_write_time(path_ / name);
        }
    }

    [[nodiscard]] const fs::path& path() const { return path_; }
    [[nodiscard]] const std::vector<std::string>& words() const { return words_; }

private:
    /// Commands and options from the tool's own help, so that none is forgotten.
    void learn_words() {
        const std::regex option("--?[a-z][a-z0-9-]*");
        const std::regex command("^  ([a-z][a-z-]+) ");
        std::string help = run({"--help"}, path_).out;
        std::vector<std::string> commands{"create"};
        std::istringstream lines(help);
        for (std::string line; std::getline(lines, line);) {
            std::smatch match;
            if (std::regex_search(line, match, command)) commands.push_back(match[1]);
        }
        require(commands.size() > 10, "the help names the commands");
        for (const std::string& name : commands)
            help += run({name, "--help"}, path_).out;
        help += run({"bundle", "create", "--help"}, path_).out;
        words_ = commands;
        for (std::sregex_iterator match(help.begin(), help.end(), option), end; match != end;
             ++match) {
            words_.push_back(match->str());
        }
        for (const auto& [name, content] : files_)
            words_.push_back(name);
        for (const char* value : {"0",
                                  "1",
                                  "2",
                                  "-1",
                                  "0.5",
                                  "1e39",
                                  "nan",
                                  "inf",
                                  "",
                                  "out",
                                  "nearest",
                                  "stochastic",
                                  "f32",
                                  "q8_0",
                                  "q4_0",
                                  "dense",
                                  "sparse",
                                  "low-rank",
                                  "18446744073709551616",
                                  "sha256:00",
                                  "*",
                                  ".",
                                  "d=0.5",
                                  "d@0.5"})
            words_.emplace_back(value);
        std::ranges::sort(words_);
        words_.erase(std::unique(words_.begin(), words_.end()), words_.end());
    }

    fs::path path_;
    std::map<std::string, std::string> files_;
    std::map<std::string, fs::file_time_type> written_;
    std::vector<std::string> words_;
};

Folder& folder() {
    static Folder made;
    return made;
}

constexpr char separator = '\n';

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    while (!text.empty() && words.size() < 24) {
        const std::size_t end = std::min(text.find(separator), text.size());
        const std::string_view word = text.substr(0, end);
        // An argument ends at a NUL byte.
        words.emplace_back(word.substr(0, word.find('\0')));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = as_text(fuzz::bytes_of(data, size));
    // Nothing is written outside the folder.
    if (text.find('/') != text.npos || text.find("..") != text.npos) return -1;
    Folder& here = folder();
    const std::vector<std::string> words = words_of(text);
    const Run done = run(words, here.path());
    require(done.exit_code >= 0 && done.exit_code <= 6, "the exit code is one of the tool's");
    const bool json = std::ranges::find(words, "--json") != words.end();
    if (done.exit_code != 0) {
        require(!done.out.empty() || !done.err.empty(), "a failure is explained");
    }
    if (json && !done.out.empty() && done.out.front() == '{') {
        require(nlohmann::json::accept(done.out), "JSON is well-formed");
    }
    here.restore();
    return 0;
}

/// Puts a word of the tool's in, takes one away, or changes bytes.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
    fuzz::Random random(seed);
    if (random.below(4) == 0) return LLVMFuzzerMutate(data, size, most);
    std::vector<std::string> words = words_of(as_text(fuzz::bytes_of(data, size)));
    const std::vector<std::string>& known = folder().words();
    const std::string& word = known[random.below(known.size())];
    const std::size_t at = random.below(words.size() + 1);
    const auto place = words.begin() + static_cast<std::ptrdiff_t>(at);
    const std::uint64_t choice = random.below(3);
    if (choice == 0 || place == words.end()) {
        words.insert(place, word);
    } else if (choice == 1) {
        *place = word;
    } else {
        words.erase(place);
    }
    std::string text;
    for (const std::string& each : words)
        text += (text.empty() ? "" : std::string(1, separator)) + each;
    size = std::min(text.size(), most);
    std::copy_n(text.begin(), size, data);
    return size;
}
