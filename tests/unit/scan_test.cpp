#include "scan.hpp"

#include <bit>
#include <limits>
#include <random>

#include "support/catch.hpp"
#include "trlm/adapt/checksum.hpp"

using namespace trlm::adapt;

namespace {

constexpr std::uint64_t chunk = 65'536;
constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<std::byte> random_bytes(std::size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<std::byte> bytes(count);
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(generator() & 0xff);
    return bytes;
}

template <class T>
void put(std::vector<std::byte>& bytes, std::uint64_t offset, T value) {
    store(MutableBytes(bytes), offset, value);
}

// The outcome of a file that is one section after `before` other bytes.
SectionOutcome outcome_of(const std::vector<std::byte>& content, Section section,
                          std::size_t before = 0) {
    std::vector<std::byte> file(before);
    file.insert(file.end(), content.begin(), content.end());
    section.offset = before;
    section.length = content.size();
    return scan_file(file, file.size(), {section}, 1).outcomes[0];
}

std::vector<std::byte> ones(std::size_t count) {
    std::vector<std::byte> bytes(count * sizeof(float));
    for (std::size_t i = 0; i < count; ++i)
        put(bytes, i * sizeof(float), 1.0F);
    return bytes;
}

std::vector<std::byte> ascending(std::size_t count) {
    std::vector<std::byte> bytes(count * sizeof(std::uint32_t));
    for (std::uint32_t i = 0; i < count; ++i)
        put(bytes, i * sizeof(std::uint32_t), 3 * i);
    return bytes;
}

}  // namespace

TEST_CASE("The file hash takes the checksum's bytes as zero", "[scan]") {
    for (const std::size_t size : {0U, 1U, 8U, 100U, 1000U, 200'000U}) {
        for (const std::uint64_t at : {0U, 3U, 92U, 120U, 65'530U, 199'992U, 300'000U}) {
            auto file = random_bytes(size, 1);
            const std::uint64_t hash = scan_file(file, at, {}, 0).file_hash;
            const Section whole{.offset = 0, .length = size};
            CHECK(scan_file(file, at, {whole}, 1).file_hash == hash);
            for (std::uint64_t i = at; i < at + 8 && i < size; ++i)
                file[i] = std::byte{0};
            CHECK(hash == xxh3_64(file));
        }
    }
}

TEST_CASE("Hashes take their sections in file order, whatever order they are given in", "[scan]") {
    const auto file = random_bytes(400'000, 2);
    const std::vector<Section> sections = {
        {.offset = 300'001, .length = 99'999, .owner = 1, .in_payload_hash = true},
        {.offset = 128,
         .length = 100'003,
         .owner = 0,
         .in_payload_hash = true,
         .in_mask_hash = true},
        {.offset = 200'000, .length = 5, .owner = 1, .in_payload_hash = true, .in_mask_hash = true},
        {.offset = 200'005, .length = 70'000, .owner = 1},
        {.offset = 150'000, .length = 1, .owner = 0, .in_payload_hash = true},
    };
    const auto joined = [&](std::initializer_list<std::pair<std::size_t, std::size_t>> parts) {
        std::vector<std::byte> bytes;
        for (const auto& [offset, length] : parts) {
            const Bytes part = slice(file, offset, length);
            bytes.insert(bytes.end(), part.begin(), part.end());
        }
        return xxh3_64(bytes);
    };
    const ScanResult result = scan_file(file, file.size(), sections, 3);
    CHECK(result.file_hash == xxh3_64(file));
    REQUIRE(result.payload_hashes.size() == 3);
    CHECK(result.payload_hashes[0] == joined({{128, 100'003}, {150'000, 1}}));
    CHECK(result.payload_hashes[1] == joined({{200'000, 5}, {300'001, 99'999}}));
    CHECK(result.payload_hashes[2] == joined({}));
    CHECK(result.mask_hash == joined({{128, 100'003}, {200'000, 5}}));
}

TEST_CASE("Overlapping sections are each judged, and the file is hashed once", "[scan]") {
    auto file = random_bytes(300'000, 3);
    put(file, 150'000, infinity);
    const std::vector<Section> sections = {
        {.kind = SectionKind::values, .offset = 150'000, .length = 4},
        {.kind = SectionKind::zeros, .offset = 150'000, .length = 64},
        {.offset = 0, .length = 300'000, .owner = 1, .in_payload_hash = true},
        {.offset = 70'000, .length = 200'000, .owner = 2, .in_payload_hash = true},
    };
    const ScanResult result = scan_file(file, file.size(), sections, 3);
    CHECK(result.file_hash == xxh3_64(file));
    CHECK(result.outcomes[0].defect == SectionDefect::non_finite);
    CHECK(result.outcomes[1].defect == SectionDefect::not_zero);
    CHECK(result.outcomes[1].element == 2);
    CHECK(result.payload_hashes[1] == xxh3_64(file));
    CHECK(result.payload_hashes[2] == xxh3_64(slice(file, 70'000, 200'000)));
}

TEST_CASE("Zeros: the first other byte, in any chunk", "[scan]") {
    const Section section{.kind = SectionKind::zeros};
    std::vector<std::byte> bytes(3 * chunk + 5);
    CHECK(outcome_of(bytes, section).defect == SectionDefect::none);
    for (const std::size_t at : {3 * chunk + 4, 2 * chunk, chunk - 1, std::uint64_t{0}}) {
        bytes[at] = std::byte{1};
        const SectionOutcome outcome = outcome_of(bytes, section, 7);
        CHECK(outcome.defect == SectionDefect::not_zero);
        CHECK(outcome.element == at);
    }
}

TEST_CASE("Values: the first that is not finite, in any chunk and at any alignment", "[scan]") {
    const Section section{.kind = SectionKind::values};
    auto bytes = ones(40'001);
    put(bytes, 0, std::numeric_limits<float>::max());
    put(bytes, 4, -std::numeric_limits<float>::denorm_min());
    CHECK(outcome_of(bytes, section, 3).defect == SectionDefect::none);
    for (const auto& [element, value] : {std::pair{40'000U, infinity},
                                         {16'384U, -infinity},
                                         {16'383U, std::numeric_limits<float>::quiet_NaN()},
                                         {2U, -std::numeric_limits<float>::quiet_NaN()}}) {
        put(bytes, element * sizeof(float), value);
        for (const std::size_t before : {0U, 1U, 2U, 3U, 64U}) {
            const SectionOutcome outcome = outcome_of(bytes, section, before);
            CHECK(outcome.defect == SectionDefect::non_finite);
            CHECK(outcome.element == element);
        }
    }
}

TEST_CASE("Scales: finite, above zero and below the bound", "[scan]") {
    const Section section{.kind = SectionKind::scales, .bound = 8.0F};
    auto bytes = ones(20'000);
    put(bytes, 0, std::nextafter(8.0F, 0.0F));
    put(bytes, 4, std::numeric_limits<float>::denorm_min());
    CHECK(outcome_of(bytes, section, 1).defect == SectionDefect::none);
    for (const float bad :
         {8.0F, infinity, 0.0F, -0.0F, -1.0F, std::numeric_limits<float>::quiet_NaN()}) {
        auto changed = bytes;
        put(changed, 19'999 * sizeof(float), bad);
        put(changed, 17'000 * sizeof(float), bad);
        const SectionOutcome outcome = outcome_of(changed, section, 1);
        CHECK(outcome.defect == SectionDefect::bad_scale);
        CHECK(outcome.element == 17'000);
    }
}

TEST_CASE("Indexes ascend strictly, over chunk boundaries too", "[scan]") {
    constexpr std::uint64_t count = 40'000;
    const Section section{.kind = SectionKind::indexes, .elements = 3 * (count - 1) + 1};
    const auto bytes = ascending(count);
    CHECK(outcome_of(bytes, section, 1).defect == SectionDefect::none);
    // 16,384 is the first of the second chunk.
    for (const std::uint64_t at : {1U, 100U, 16'383U, 16'384U, 16'385U, 39'999U}) {
        for (const std::uint32_t down : {3U, 4U}) {
            auto changed = bytes;
            const auto value = static_cast<std::uint32_t>(3 * at);
            if (value < down) continue;
            put(changed, at * sizeof(std::uint32_t), value - down);
            const SectionOutcome outcome = outcome_of(changed, section, 1);
            CHECK(outcome.defect == SectionDefect::not_ascending);
            CHECK(outcome.element == at);
        }
    }
}

TEST_CASE("Indexes lie below the number of elements", "[scan]") {
    const auto bytes = ascending(20'000);
    const std::uint64_t last = 3 * 19'999;
    const auto outcome_for = [&](std::uint64_t elements) {
        return outcome_of(bytes, {.kind = SectionKind::indexes, .elements = elements});
    };
    CHECK(outcome_for(last + 1).defect == SectionDefect::none);
    CHECK(outcome_for(last).defect == SectionDefect::out_of_range);
    CHECK(outcome_for(last).element == 19'999);
    CHECK(outcome_for(3 * 16'384).element == 16'384);
    CHECK(outcome_for(1).element == 1);
    CHECK(outcome_for(0).element == 0);

    // The largest index of the largest tensor.
    std::vector<std::byte> top(4);
    put(top, 0, std::uint32_t{0xffffffff});
    const Section section{.kind = SectionKind::indexes, .elements = std::uint64_t{1} << 32};
    CHECK(outcome_of(top, section).defect == SectionDefect::none);
}

TEST_CASE("Of several bad indexes the first is named", "[scan]") {
    auto bytes = ascending(100);
    put(bytes, 4 * 50, std::uint32_t{1000});
    put(bytes, 4 * 70, std::uint32_t{0});
    const SectionOutcome first = outcome_of(bytes, {.kind = SectionKind::indexes, .elements = 500});
    CHECK(first.defect == SectionDefect::out_of_range);
    CHECK(first.element == 50);
    put(bytes, 4 * 30, std::uint32_t{0});
    const SectionOutcome second =
        outcome_of(bytes, {.kind = SectionKind::indexes, .elements = 500});
    CHECK(second.defect == SectionDefect::not_ascending);
    CHECK(second.element == 30);
}

TEST_CASE("A bitmask's bits are counted up to the last element", "[scan]") {
    for (const std::uint64_t elements : std::vector<std::uint64_t>{
             1, 7, 8, 9, 63, 64, 65, 1000, 8 * chunk, 8 * chunk + 1, 8 * chunk + 77}) {
        auto bytes = random_bytes((elements + 7) / 8, static_cast<unsigned>(elements));
        if (elements % 8 != 0) bytes.back() &= static_cast<std::byte>((1U << elements % 8) - 1);
        std::uint64_t expected = 0;
        for (const std::byte byte : bytes) {
            expected += static_cast<std::uint64_t>(std::popcount(std::to_integer<unsigned>(byte)));
        }
        const Section section{.kind = SectionKind::bitmask, .elements = elements};
        const SectionOutcome outcome = outcome_of(bytes, section, 5);
        CHECK(outcome.defect == SectionDefect::none);
        CHECK(outcome.popcount == expected);
        if (elements % 8 == 0) continue;
        bytes.back() |= std::byte{0x80};
        const SectionOutcome past = outcome_of(bytes, section, 5);
        CHECK(past.defect == SectionDefect::bits_past_end);
        CHECK(past.element == 8 * bytes.size() - 1);
        CHECK(past.popcount == expected);
    }
}

TEST_CASE("Progress is told for each MiB, in sections and between them", "[scan]") {
    constexpr std::uint64_t mib = std::uint64_t{1} << 20;
    const std::vector<std::byte> file(5 * mib + 3);
    const std::vector<Section> sections{
        {.kind = SectionKind::zeros, .offset = 64, .length = 2 * mib}};
    std::vector<std::uint64_t> told;
    const auto whole = scan_file(file, 16, sections, 1, [&](std::uint64_t done, std::uint64_t of) {
        CHECK(of == file.size());
        told.push_back(done);
        return true;
    });
    CHECK_FALSE(whole.cancelled);
    CHECK(told == std::vector<std::uint64_t>{mib, 2 * mib, 3 * mib, 4 * mib, 5 * mib});
    CHECK(whole.file_hash == xxh3_64(file));

    for (const std::uint64_t last : told) {
        const auto cut = scan_file(file, 16, sections, 1, [&](std::uint64_t done, std::uint64_t) {
            CHECK(done <= last);
            return done < last;
        });
        CHECK(cut.cancelled);
    }
}
