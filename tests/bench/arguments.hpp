#pragma once
// Command lines of the benchmark programs: a wrong one ends the program with one line and exit
// code 2.

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trlm::adapt::bench {

/// Words of a command line, read one after the other.
class Arguments {
public:
    Arguments(std::string_view program, std::string_view usage, std::vector<std::string> words)
        : program_(program), usage_(usage), words_(std::move(words)) {}

    /// Says what is wrong and ends the program.
    [[noreturn]] void refuse(const std::string& what) const {
        std::fprintf(stderr, "%s: %s (see --help)\n", program_.c_str(), what.c_str());
        std::exit(2);
    }

    /// The next option, or nothing at the end or before a word that is none.
    [[nodiscard]] std::optional<std::string> next_option() {
        if (at_ == words_.size() || !words_[at_].starts_with('-')) return std::nullopt;
        option_ = words_[at_++];
        if (option_ == "--help" || option_ == "-h") {
            std::fputs(std::string(usage_).c_str(), stdout);
            std::exit(0);
        }
        return option_;
    }

    [[noreturn]] void refuse_option() const { refuse("unknown option " + option_); }

    /// The next word, which is no option.
    [[nodiscard]] std::string positional(const std::string& what) {
        if (at_ == words_.size() || words_[at_].starts_with('-')) refuse(what + " is missing");
        return words_[at_++];
    }

    void expect_end() const {
        if (at_ != words_.size()) refuse("unexpected argument " + words_[at_]);
    }

    /// The value of the last option.
    [[nodiscard]] const std::string& value() {
        if (at_ == words_.size()) refuse(option_ + " needs a value");
        return words_[at_++];
    }

    /// A whole number in [low, high].
    [[nodiscard]] std::uint64_t number(std::uint64_t low, std::uint64_t high) {
        const std::string& text = value();
        const std::optional<std::uint64_t> parsed = parse<std::uint64_t>(text);
        if (!parsed || *parsed < low || *parsed > high) {
            refuse(option_ + " must be a whole number from " + std::to_string(low) + " to " +
                   std::to_string(high) + ", not " + text);
        }
        return *parsed;
    }

    /// A number in (0, high].
    [[nodiscard]] double positive(double high) {
        const std::string& text = value();
        const std::optional<double> parsed = parse<double>(text);
        if (!parsed || !(*parsed > 0) || !(*parsed <= high)) {
            refuse(option_ + " must be a number above 0 and not above " +
                   trimmed(std::to_string(high)) + ", not " + text);
        }
        return *parsed;
    }

    /// A size: bytes, or a number with KiB, MiB or GiB.
    [[nodiscard]] std::uint64_t size() {
        const std::string& text = value();
        std::string_view digits = text;
        std::uint64_t unit = 1;
        for (const auto& [suffix, bytes] : units) {
            if (digits.ends_with(suffix)) {
                digits.remove_suffix(suffix.size());
                unit = bytes;
                break;
            }
        }
        const std::optional<std::uint64_t> parsed = parse<std::uint64_t>(digits);
        if (!parsed || *parsed == 0 || *parsed > largest_size / unit) {
            refuse(option_ + " must be a size such as 65536, 16MiB or 1GiB, not " + text);
        }
        return *parsed * unit;
    }

private:
    static constexpr std::uint64_t largest_size = std::uint64_t{1} << 40;
    static constexpr std::pair<std::string_view, std::uint64_t> units[] = {
        {"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30}};

    template <class T>
    static std::optional<T> parse(std::string_view text) {
        T parsed{};
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
        if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
        return parsed;
    }

    static std::string trimmed(std::string text) {
        text.erase(text.find_last_not_of('0') + 1);
        if (text.back() == '.') text.pop_back();
        return text;
    }

    std::string program_;
    std::string_view usage_;
    std::vector<std::string> words_;
    std::string option_;
    std::size_t at_ = 0;
};

}  // namespace trlm::adapt::bench
