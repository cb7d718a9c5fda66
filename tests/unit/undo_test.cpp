#include "trlm/adapt/undo.hpp"

#include <algorithm>
#include <random>
#include <set>

#include "support/catch.hpp"
#include "support/folder.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/file.hpp"

using namespace trlm::adapt;

namespace {

using ByteVector = std::vector<std::byte>;
using Runs = std::vector<ChangedRun>;
using Codes = std::set<FindingCode>;

ByteVector bytes_of(std::initializer_list<unsigned> values) {
    ByteVector bytes;
    for (const unsigned value : values)
        bytes.push_back(static_cast<std::byte>(value));
    return bytes;
}

ByteVector file_bytes(const std::string& path) {
    const auto file = MappedFile::open(path);
    REQUIRE(file);
    return {file->bytes().begin(), file->bytes().end()};
}

// The runs, with both sequences cut into pieces of `piece` bytes.
Runs runs_of(Bytes before, Bytes after, std::size_t piece) {
    ChangedRuns changed;
    Runs runs;
    for (std::size_t at = 0; at < std::max(before.size(), after.size()); at += piece) {
        const auto part = [&](Bytes bytes) {
            return slice(bytes, std::min(at, bytes.size()),
                         std::min(piece, bytes.size() - std::min(at, bytes.size())));
        };
        changed.compare(part(before), part(after), runs);
    }
    changed.finish(runs);
    return runs;
}

// The same by the words of docs/formats.md: stretches of changed bytes with at most two others
// between one and the next, cut every 65,536 bytes.
Runs runs_by_the_book(Bytes before, Bytes after) {
    Runs stretches;
    for (std::uint64_t i = 0; i < before.size(); ++i) {
        if (i < after.size() && before[i] == after[i]) continue;
        if (!stretches.empty() && i - (stretches.back().offset + stretches.back().length) <= 2) {
            stretches.back().length = i + 1 - stretches.back().offset;
        } else {
            stretches.push_back({i, 1});
        }
    }
    Runs runs;
    for (const ChangedRun& stretch : stretches) {
        for (std::uint64_t at = 0; at < stretch.length; at += 65'536) {
            runs.push_back(
                {stretch.offset + at, std::min<std::uint64_t>(65'536, stretch.length - at)});
        }
    }
    return runs;
}

// Random bytes, and the same with changes of random density.
struct Pair {
    ByteVector base;
    ByteVector output;
};

Pair random_pair(std::mt19937& random, std::size_t base_size, std::size_t output_size) {
    Pair pair{ByteVector(base_size), ByteVector(output_size)};
    for (std::byte& byte : pair.base)
        byte = static_cast<std::byte>(random() % 256);
    const std::size_t common = std::min(base_size, output_size);
    std::copy_n(pair.base.begin(), common, pair.output.begin());
    for (std::size_t at = 0; at < output_size;) {
        const std::size_t length = std::min<std::size_t>(random() % 40, output_size - at);
        const unsigned density = random() % 4;  // of 3
        for (std::size_t i = at; i < at + length; ++i) {
            if (random() % 3 < density)
                pair.output[i] ^= static_cast<std::byte>(1 + random() % 255);
        }
        at += length + random() % 40;
    }
    return pair;
}

// What the writer makes of two files, given the output in pieces.
ByteVector written(const Pair& pair, std::size_t piece) {
    const Folder folder;
    auto writer = UndoWriter::create(folder.path("undo"), pair.base);
    REQUIRE(writer);
    for (std::size_t at = 0; at < pair.output.size(); at += piece) {
        REQUIRE(writer->add(slice(pair.output, at, std::min(piece, pair.output.size() - at))));
    }
    const auto report = writer->finish(sha256(pair.output));
    REQUIRE(report);
    REQUIRE(writer->publish(/*replace=*/false));
    CHECK(folder.names() == std::vector<std::string>{"undo"});
    ByteVector file = file_bytes(folder.path("undo"));
    CHECK(report->bytes == file.size());
    CHECK(report->digest == sha256(file));
    return file;
}

Result<RevertReport> revert(Bytes output, const Undo& undo, const Folder& folder) {
    return revert_to_file({output, &undo, "output", "undo"}, folder.path("base"), true);
}

void check_round_trip(const Pair& pair, std::size_t piece) {
    const ByteVector file = written(pair, piece);
    const auto undo = read_undo(file);
    REQUIRE(undo);
    const Runs runs = runs_by_the_book(pair.base, pair.output);
    CHECK(undo->base_length() == pair.base.size());
    CHECK(undo->output_length() == pair.output.size());
    CHECK(undo->base_digest() == sha256(pair.base));
    CHECK(undo->output_digest() == sha256(pair.output));
    CHECK(undo->run_count() == runs.size());
    UndoRuns stored(*undo);
    std::uint64_t restored = 0;
    for (const ChangedRun& run : runs) {
        const auto next = stored.next();
        REQUIRE(next);
        CHECK(next->offset == run.offset);
        REQUIRE(next->old_bytes.size() == run.length);
        CHECK(std::ranges::equal(next->old_bytes, slice(pair.base, run.offset, run.length)));
        restored += run.length;
    }
    CHECK_FALSE(stored.next());
    CHECK(undo->restored_bytes() == restored);

    const Folder folder;
    const auto report = revert(pair.output, *undo, folder);
    REQUIRE(report);
    CHECK(report->bytes == pair.base.size());
    CHECK(report->digest == sha256(pair.base));
    CHECK(file_bytes(folder.path("base")) == pair.base);
}

// An undo file by the numbers of docs/formats.md, independent of the writer.
struct UndoFile {
    std::uint64_t base_length = 100;
    std::uint64_t output_length = 100;
    std::uint64_t run_count = 0;
    std::uint64_t restored_length = 0;
    ByteVector runs = {};
    ByteVector base = ByteVector(100);    // for the digest
    ByteVector output = ByteVector(100);  // for the digest

    [[nodiscard]] ByteVector bytes() const {
        ByteVector file(160);
        std::ranges::copy(as_bytes("UND1"), file.begin());
        store<std::uint32_t>(file, 4, 1);
        store<std::uint32_t>(file, 8, 160);
        store(file, 16, base_length);
        store(file, 24, output_length);
        store(file, 32, sha256(base).bytes);
        store(file, 64, sha256(output).bytes);
        store(file, 96, run_count);
        store(file, 104, restored_length);
        store<std::uint64_t>(file, 112, 160 + runs.size());
        file.insert(file.end(), runs.begin(), runs.end());
        return sealed(std::move(file));
    }

    [[nodiscard]] static ByteVector sealed(ByteVector file) {
        store<std::uint64_t>(file, 152, 0);
        store<std::uint64_t>(file, 152, checksum_of(file));
        return file;
    }
};

Codes codes_of(Bytes file) {
    Codes codes;
    const auto undo = read_undo(file);
    if (undo) return codes;
    for (const Finding& finding : undo.error()) {
        CHECK(finding.severity == Severity::error);
        CHECK_FALSE(finding.message.empty());
        codes.insert(finding.code);
    }
    return codes;
}

// Two runs, at 3 and at 10: of an output of 100 bytes that differs there.
UndoFile two_runs() {
    UndoFile file;
    file.runs = bytes_of({3, 2, 0xaa, 0xbb, 5, 1, 0xcc});
    file.run_count = 2;
    file.restored_length = 3;
    file.base[3] = std::byte{0xaa};
    file.base[4] = std::byte{0xbb};
    file.base[10] = std::byte{0xcc};
    return file;
}

}  // namespace

TEST_CASE("runs join changes with at most two unchanged bytes between them") {
    const auto base = ByteVector(40);
    const auto changed = [&](std::initializer_list<std::size_t> places) {
        ByteVector output = base;
        for (const std::size_t place : places)
            output[place] = std::byte{1};
        return runs_of(base, output, 7);
    };
    CHECK(changed({}).empty());
    CHECK(changed({0}) == Runs{{0, 1}});
    CHECK(changed({39}) == Runs{{39, 1}});
    CHECK(changed({5, 6}) == Runs{{5, 2}});
    CHECK(changed({5, 7}) == Runs{{5, 3}});
    CHECK(changed({5, 8}) == Runs{{5, 4}});
    CHECK(changed({5, 9}) == Runs{{5, 1}, {9, 1}});
    CHECK(changed({5, 8, 11, 15}) == Runs{{5, 7}, {15, 1}});
}

TEST_CASE("what the base has behind the output's end is changed, what the output has is not") {
    const auto ten = ByteVector(10);
    const auto six = ByteVector(6);
    CHECK(runs_of(ten, six, 4) == Runs{{6, 4}});
    CHECK(runs_of(ten, {}, 4) == Runs{{0, 10}});
    CHECK(runs_of(six, ten, 4).empty());
}

TEST_CASE("long stretches of changes are cut into runs of 65,536 bytes") {
    for (const std::size_t length : {65'535U, 65'536U, 65'537U, 131'072U, 200'000U}) {
        const auto base = ByteVector(length + 10);
        ByteVector output = base;
        std::fill_n(output.begin() + 5, length, std::byte{1});
        const Runs expected = runs_by_the_book(base, output);
        CHECK(expected.size() == (length + 65'535) / 65'536);
        CHECK(runs_of(base, output, 1000) == expected);
        // Two unchanged bytes around the place of the cut, and a change behind it or none.
        for (const std::size_t at : {65'534U, 65'535U, 65'539U, 65'540U, 65'541U, 65'542U}) {
            ByteVector gap = output;
            if (at < length + 3) gap[at] = gap[at + 1] = std::byte{0};
            CHECK(runs_of(base, gap, 1000) == runs_by_the_book(base, gap));
        }
    }
}

TEST_CASE("the runs do not depend on how the bytes are cut into pieces") {
    std::mt19937 random(1);
    for (int i = 0; i < 60; ++i) {
        const Pair pair = random_pair(random, 1 + random() % 3000, 1 + random() % 3000);
        const Runs expected = runs_by_the_book(pair.base, pair.output);
        for (const std::size_t piece : {1U, 2U, 3U, 64U, 5000U}) {
            CHECK(runs_of(pair.base, pair.output, piece) == expected);
        }
    }
}

TEST_CASE("random bases come back from their outputs, longer and shorter ones too") {
    std::mt19937 random(2);
    for (int i = 0; i < 30; ++i) {
        check_round_trip(random_pair(random, 1 + random() % 5000, 1 + random() % 5000), 1000);
    }
    check_round_trip(random_pair(random, 3'000'000, 2'500'000), 262'144);
    check_round_trip(random_pair(random, 2'500'000, 3'000'000), 262'144);
    // Everything differs.
    Pair pair = random_pair(random, 1'500'000, 1'500'000);
    std::ranges::transform(pair.base, pair.output.begin(), [](std::byte b) { return ~b; });
    check_round_trip(pair, 262'144);
    CHECK(written(pair, 4096).size() <= 160 + 1'500'000 + 4 * (1'500'000 / 65'536 + 1));
}

TEST_CASE("the undo file is the one that the document describes") {
    const UndoFile file = two_runs();
    CHECK(written({file.base, file.output}, 100) == file.bytes());
    CHECK(written({file.base, file.output}, 1) == file.bytes());

    // 300 unchanged bytes are ac 02.
    UndoFile far;
    far.base_length = far.output_length = 400;
    far.base = far.output = ByteVector(400);
    far.base[300] = std::byte{7};
    far.runs = bytes_of({0xac, 0x02, 1, 7});
    far.run_count = far.restored_length = 1;
    CHECK(written({far.base, far.output}, 64) == far.bytes());
}

TEST_CASE("an undo file is cut nowhere without a finding") {
    const ByteVector file = two_runs().bytes();
    REQUIRE(read_undo(file));
    for (std::size_t size = 0; size < file.size(); ++size) {
        CHECK(codes_of(slice(file, 0, size)) == Codes{FindingCode::truncated});
    }
    ByteVector longer = file;
    longer.push_back(std::byte{0});
    CHECK(codes_of(longer) == Codes{FindingCode::trailing_bytes});
    CHECK(codes_of(as_bytes("UND2")) == Codes{FindingCode::bad_magic});
}

TEST_CASE("a field that breaks its rule has its code, sealed again or not") {
    struct Change {
        std::uint64_t offset;
        std::uint64_t bytes;
        std::uint64_t value;
        Codes codes;  // when sealed again
        bool only = false;
    };
    const Change changes[] = {
        {0, 4, 0x31'44'4E'56, {FindingCode::bad_magic}, true},
        {4, 4, 2, {FindingCode::unsupported_version}, true},
        {4, 4, 0, {FindingCode::unsupported_version}, true},
        {8, 4, 128, {FindingCode::bad_header_length}, true},
        {12, 4, 1, {FindingCode::reserved_not_zero}},
        {16, 8, 0, {FindingCode::bad_value, FindingCode::range_out_of_file}},
        {16, 8, 10, {FindingCode::range_out_of_file}},
        {16, 8, 101, {FindingCode::hole}},
        {16, 8, ~std::uint64_t{0}, {FindingCode::hole}},
        {24, 8, 0, {FindingCode::bad_value, FindingCode::hole}},
        {24, 8, 99, {FindingCode::hole}},
        {96, 8, 1, {FindingCode::count_mismatch}},
        {96, 8, 3, {FindingCode::count_mismatch}},
        {104, 8, 4, {FindingCode::length_mismatch}},
        {120, 8, 1, {FindingCode::reserved_not_zero}},
        {144, 8, std::uint64_t{1} << 63, {FindingCode::reserved_not_zero}},
    };
    for (const Change& change : changes) {
        CAPTURE(change.offset, change.value);
        ByteVector file = two_runs().bytes();
        if (change.bytes == 4) {
            store(file, change.offset, static_cast<std::uint32_t>(change.value));
        } else {
            store(file, change.offset, change.value);
        }
        Codes unsealed = change.codes;
        if (!change.only) unsealed.insert(FindingCode::checksum_mismatch);
        CHECK(codes_of(file) == unsealed);
        CHECK(codes_of(UndoFile::sealed(file)) == change.codes);
    }
    for (const std::uint64_t length : {166U, 168U}) {
        ByteVector file = two_runs().bytes();
        store(file, 112, length);
        const FindingCode code =
            length > file.size() ? FindingCode::truncated : FindingCode::trailing_bytes;
        CHECK(codes_of(file).contains(code));
        CHECK_FALSE(codes_of(file).contains(FindingCode::checksum_mismatch));
    }
}

TEST_CASE("every changed bit of an undo file is found") {
    const ByteVector file = two_runs().bytes();
    for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
        ByteVector changed = file;
        changed[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
        CHECK_FALSE(codes_of(changed).empty());
    }
}

TEST_CASE("a run that breaks a rule has its code") {
    struct Body {
        const char* what;
        ByteVector runs;
        std::uint64_t count;
        std::uint64_t length;
        Codes codes;
    };
    const auto most = bytes_of({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01});
    const auto with = [](ByteVector first, std::initializer_list<unsigned> then) {
        const ByteVector rest = bytes_of(then);
        first.insert(first.end(), rest.begin(), rest.end());
        return first;
    };
    const Body bodies[] = {
        {"none", {}, 0, 0, {}},
        {"at the start", bytes_of({0, 1, 9}), 1, 1, {}},
        {"at the end", bytes_of({99, 1, 9}), 1, 1, {}},
        {"past the end of the base",
         bytes_of({99, 2, 9, 9}),
         1,
         2,
         {FindingCode::range_out_of_file}},
        {"gap of 3", bytes_of({5, 1, 9, 3, 1, 9}), 2, 2, {}},
        {"gap of 2", bytes_of({5, 1, 9, 2, 1, 9}), 2, 2, {FindingCode::bad_value}},
        {"gap of 0", bytes_of({5, 1, 9, 0, 1, 9}), 2, 2, {FindingCode::bad_value}},
        {"empty", bytes_of({5, 0}), 1, 0, {FindingCode::bad_value}},
        {"too long", bytes_of({0, 0x81, 0x80, 0x04}), 1, 65'537, {FindingCode::bad_value}},
        {"longer form", bytes_of({0x85, 0x00, 1, 9}), 1, 1, {FindingCode::bad_value}},
        {"longer form of the length", bytes_of({5, 0x81, 0x00, 9}), 1, 1, {FindingCode::bad_value}},
        {"gap cut", bytes_of({0x85}), 1, 1, {FindingCode::range_out_of_file}},
        {"length missing", bytes_of({5}), 1, 1, {FindingCode::range_out_of_file}},
        {"bytes missing", bytes_of({5, 2, 9}), 1, 2, {FindingCode::range_out_of_file}},
        {"gap that wraps",
         with(most, {1, 9}),
         1,
         1,
         {FindingCode::size_overflow, FindingCode::range_out_of_file}},
        {"number of 65 bits",
         bytes_of({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 1, 9}),
         1,
         1,
         {FindingCode::size_overflow}},
        {"number of 11 groups",
         bytes_of({0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 1, 9}),
         1,
         1,
         {FindingCode::size_overflow}},
    };
    for (const Body& body : bodies) {
        CAPTURE(body.what);
        UndoFile file;
        file.runs = body.runs;
        file.run_count = body.count;
        file.restored_length = body.length;
        CHECK(codes_of(file.bytes()) == body.codes);
    }
}

TEST_CASE("a run of 65,536 bytes may be followed at once by the next") {
    UndoFile file;
    file.base_length = file.output_length = 100'000;
    const auto add = [&](std::initializer_list<unsigned> numbers, std::size_t length) {
        const ByteVector bytes = bytes_of(numbers);
        file.runs.insert(file.runs.end(), bytes.begin(), bytes.end());
        file.runs.resize(file.runs.size() + length);
        file.run_count += 1;
        file.restored_length += length;
    };
    add({0, 0x80, 0x80, 0x04}, 65'536);
    add({0, 1}, 1);
    CHECK(codes_of(file.bytes()).empty());
    UndoFile gap = file;
    gap.runs[65'540] = std::byte{2};
    CHECK(codes_of(gap.bytes()) == Codes{FindingCode::bad_value});
}

TEST_CASE("what a longer base has behind the output must stand in runs") {
    UndoFile file;
    file.output_length = 97;
    file.runs = bytes_of({95, 5, 1, 2, 3, 4, 5});
    file.run_count = 1;
    file.restored_length = 5;
    CHECK(codes_of(file.bytes()).empty());
    file.runs = bytes_of({95, 4, 1, 2, 3, 4});
    file.restored_length = 4;
    CHECK(codes_of(file.bytes()) == Codes{FindingCode::hole});
    file.runs = bytes_of({98, 2, 1, 2});
    file.restored_length = 2;
    CHECK(codes_of(file.bytes()) == Codes{FindingCode::hole});
}

TEST_CASE("reverting wants the very output, and gives the very base or nothing") {
    const Folder folder;
    const UndoFile file = two_runs();
    const ByteVector bytes = file.bytes();
    const auto undo = read_undo(bytes);
    REQUIRE(undo);
    const auto codes = [&](Bytes output, const Undo& of) {
        Codes found;
        const auto report = revert(output, of, folder);
        REQUIRE_FALSE(report);
        for (const Finding& finding : report.error()) {
            found.insert(finding.code);
            CHECK((finding.file == "output" || finding.file == "undo"));
        }
        CHECK(folder.names().empty());
        return found;
    };
    CHECK(codes(ByteVector(99), *undo) ==
          Codes{FindingCode::size_mismatch, FindingCode::undo_stale});
    ByteVector drifted = file.output;
    drifted[50] = std::byte{1};  // in no run
    CHECK(codes(drifted, *undo) == Codes{FindingCode::digest_mismatch, FindingCode::undo_stale});
    drifted = file.output;
    drifted[3] = std::byte{1};  // in a run: what is restored would be right
    CHECK(codes(drifted, *undo) == Codes{FindingCode::digest_mismatch, FindingCode::undo_stale});
    CHECK(codes(file.base, *undo) == Codes{FindingCode::digest_mismatch, FindingCode::undo_stale});

    // An undo file that keeps every rule and lies about the base.
    UndoFile lying = file;
    lying.base[60] = std::byte{1};
    const ByteVector lying_bytes = lying.bytes();
    const auto lie = read_undo(lying_bytes);
    REQUIRE(lie);
    CHECK(codes(file.output, *lie) == Codes{FindingCode::digest_mismatch});

    REQUIRE(revert(file.output, *undo, folder));
    CHECK(file_bytes(folder.path("base")) == file.base);
    const auto again = revert_to_file({file.output, &*undo}, folder.path("base"), false);
    REQUIRE_FALSE(again);
    CHECK(again.error()[0].code == FindingCode::usage_error);
}

TEST_CASE("reading and reverting can be cancelled") {
    std::mt19937 random(3);
    const Pair pair = random_pair(random, 3'000'000, 3'000'000);
    const ByteVector file = written(pair, 262'144);
    const auto cancelled = read_undo(file, [](std::uint64_t, std::uint64_t) { return false; });
    REQUIRE_FALSE(cancelled);
    CHECK(cancelled.error()[0].code == FindingCode::output_failed);

    const auto undo = read_undo(file);
    REQUIRE(undo);
    const Folder folder;
    std::uint64_t told = 0;
    const auto report = revert_to_file({pair.output, &*undo}, folder.path("base"), false,
                                       [&](std::uint64_t done, std::uint64_t total) {
                                           told = done;
                                           CHECK(total == 3'000'000);
                                           return done < 2'000'000;
                                       });
    REQUIRE_FALSE(report);
    CHECK(report.error()[0].code == FindingCode::output_failed);
    CHECK(told >= 2'000'000);
    CHECK(folder.names().empty());
}
