#include "trlm/adapt/package.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "support/catch.hpp"
#include "support/package_bytes.hpp"
#include "trlm/adapt/limits.hpp"

using namespace trlm::adapt;
using namespace trlm::adapt::package_bytes;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

// FNV-1a 64, calculated elsewhere; "a" comes before "b".
static_assert(tensor_name_hash("a") == 0xaf63dc4c8601ec8c);
static_assert(tensor_name_hash("b") == 0xaf63df4c8601f1a5);

File dense_file(std::string metadata = "") {
    return build(dense_content(std::move(metadata)));
}

File low_rank_file() {
    return build(low_rank_content());
}

// An index list and a bitmask, in the order of their hashes.
File mixed_sparse_file() {
    return sparse_file({index_list("a"), bitmask("b")});
}

bool has(const Codes& codes, std::string_view code) {
    return std::ranges::find(codes, code) != codes.end();
}

std::uint64_t entry(std::uint64_t index) {
    return 128 + 64 * index;
}

const Finding& only_finding(const Result<Package>& result) {
    REQUIRE_FALSE(result.has_value());
    REQUIRE(result.error().size() == 1);
    return result.error()[0];
}

std::vector<float> as_floats(Bytes bytes) {
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
}

// One change of a valid file, and the codes of the file sealed again.
struct Mutation {
    const char* name;
    std::uint64_t offset;
    std::uint64_t width;
    std::uint64_t value;
    Codes codes;
};

void put_number(File& file, const Mutation& mutation) {
    if (mutation.width == 1) file.put(mutation.offset, static_cast<std::uint8_t>(mutation.value));
    if (mutation.width == 4) file.put(mutation.offset, static_cast<std::uint32_t>(mutation.value));
    if (mutation.width == 8) file.put(mutation.offset, mutation.value);
}

// Sealed, each mutation has exactly its codes and nothing of class drift; unsealed it has
// checksum_mismatch beside them.
void check_mutations(const File& valid, const std::vector<Mutation>& mutations) {
    for (const Mutation& mutation : mutations) {
        CAPTURE(mutation.name);
        File file = valid;
        put_number(file, mutation);
        Codes unsealed = codes(file.read());
        CHECK(has(unsealed, "checksum_mismatch"));
        std::erase(unsealed, "checksum_mismatch");
        std::erase(unsealed, "payload_checksum_mismatch");
        CHECK(unsealed == mutation.codes);
        const auto sealed = file.seal().read();
        CHECK(codes(sealed) == mutation.codes);
        if (!sealed) CHECK(sealed.error().exit_code() == ExitCode::invalid);
        // No look at values or padding is needed for it.
        CHECK(codes(file.read(ReadDepth::headers)) == mutation.codes);
    }
}

}  // namespace

// ------------------------------------------------------------------------------------ valid files

TEST_CASE("A dense package is read", "[package]") {
    const File file = dense_file(R"({"name":"x","tensor_names":["a","b"]})");
    const auto package = file.read();
    REQUIRE(codes(package) == Codes{});
    CHECK(package->kind() == PackageKind::dense);
    CHECK(package->bytes().data() == file.bytes.data());
    CHECK(package->identity() == Identity{1, 21, 103232, 0x1111, 0x2222});
    CHECK(package->checksum() == file.get<std::uint64_t>(120));
    CHECK(package->metadata() == R"({"name":"x","tensor_names":["a","b"]})");
    REQUIRE(package->entries().size() == 2);
    const PackageEntry& first = package->entries()[0];
    CHECK(first.name == "a");
    CHECK(first.name_hash == tensor_name_hash("a"));
    CHECK(first.shape == Shape{2, {2, 5, 1, 1}});
    CHECK(first.payload_offset == 320);
    CHECK(first.payload_length == 40);
    CHECK(package->entries()[1].payload_offset == 384);
    CHECK(as_floats(std::get<DenseDelta>(package->delta(1)).values) ==
          std::vector<float>{0.25F, 1.25F, 2.25F});
    CHECK(std::get<DenseDelta>(package->delta(2)).values.empty());
}

TEST_CASE("A sparse package is read in both encodings", "[package]") {
    const File file = mixed_sparse_file();
    const auto package = file.read();
    REQUIRE(codes(package) == Codes{});
    CHECK(package->kind() == PackageKind::sparse);
    CHECK(package->retention() == static_cast<float>(7.0 / 23.0));
    CHECK(package->mask_method() == MaskMethod::unspecified);
    CHECK(package->mask_seed() == 0);
    CHECK(package->mask_checksum() == file.get<std::uint64_t>(112));
    CHECK(package->entries()[0].name.empty());
    const auto list = std::get<SparseDelta>(package->delta(0));
    CHECK(list.encoding == SparseEncoding::index_list);
    CHECK(list.count == 3);
    CHECK(list.positions.size() == 12);
    CHECK(load<std::uint32_t>(list.positions, 8) == 9);
    CHECK(as_floats(list.values) == std::vector<float>{0.25F, 1.25F, 2.25F});
    const auto mask = std::get<SparseDelta>(package->delta(1));
    CHECK(mask.encoding == SparseEncoding::bitmask);
    CHECK(mask.count == 4);
    CHECK(mask.positions.size() == 2);
    CHECK(as_floats(mask.values) == std::vector<float>{0.25F, 1.25F, 2.25F, 3.25F});
}

TEST_CASE("A low-rank package is read", "[package]") {
    File file = low_rank_file();
    file.put(96, std::uint32_t{1}).put(104, std::uint8_t{0xab}).seal();
    const auto package = file.read();
    REQUIRE(codes(package) == Codes{});
    CHECK(package->kind() == PackageKind::low_rank);
    CHECK(package->source_kind() == SourceKind::lora);
    CHECK(package->source_hash()[0] == std::byte{0xab});
    const auto delta = std::get<LowRankDelta>(package->delta(0));
    CHECK(delta.rank == 2);
    CHECK(delta.scale == 0.5F);
    CHECK(as_floats(delta.a).size() == 8);
    CHECK(as_floats(delta.b) == std::vector<float>{0.25F, 1.25F, 2.25F, 3.25F, 4.25F, 5.25F});
}

TEST_CASE("A package is read at any address", "[package]") {
    const File file = mixed_sparse_file();
    for (std::size_t shift = 1; shift < 8; ++shift) {
        std::vector<std::byte> moved(shift);
        moved.insert(moved.end(), file.bytes.begin(), file.bytes.end());
        CHECK(codes(read_package(Bytes(moved).subspan(shift))) == Codes{});
    }
}

TEST_CASE("A sparse entry may hold the last element of the largest tensor", "[package]") {
    Entry largest = index_list("a");
    largest.dims = {65'536, 65'536, 1, 1};
    store(MutableBytes(largest.payload), 8, std::uint32_t{0xffffffff});
    CHECK(codes(sparse_file({largest}).read()) == Codes{});
}

// ------------------------------------------------------------------------------------------ start

TEST_CASE("A wrong magic is the only finding", "[package]") {
    const std::pair<std::string_view, std::string_view> cases[] = {
        {"SLM1", "arguments swapped"},
        {"GGUF", "GGUF"},
        {"PK\x03\x04", "zip archive"},
        {"ADP2", "none of ADP1"},
        {"adp1", "none of"},
        {"<html>", "web page"},
        {"version https://git-lfs.github.com/spec/v1", "git lfs pull"},
    };
    for (const auto& [start, words] : cases) {
        File file = dense_file();
        for (std::size_t i = 0; i < start.size(); ++i) {
            file.bytes[i] = static_cast<std::byte>(start[i]);
        }
        CAPTURE(start);
        for (const std::size_t size : {file.bytes.size(), start.size()}) {
            const auto result = read_package(Bytes(file.bytes).first(size));
            const Finding& finding = only_finding(result);
            CHECK(finding.code == FindingCode::bad_magic);
            CHECK(finding.message.find(words) != std::string::npos);
        }
    }
    File safetensors = dense_file();
    safetensors.put(0, std::uint64_t{100}).put(8, '{');
    CHECK(only_finding(safetensors.read()).message.find("safetensors") != std::string::npos);
}

TEST_CASE("A wrong version or header length is the only finding", "[package]") {
    for (const std::uint32_t version : {0U, 2U, 0xffffffffU}) {
        File file = dense_file();
        file.put(4, version).put(8, std::uint32_t{1}).put(12, std::uint32_t{7});
        CHECK(codes(file.read()) == Codes{"unsupported_version"});
        CHECK(file.read().error().exit_code() == ExitCode::cannot_check);
    }
    for (const std::uint32_t length : {0U, 127U, 129U, 0xffffffffU}) {
        File file = dense_file();
        file.put(8, length).put(12, std::uint32_t{7});
        CHECK(codes(file.read()) == Codes{"bad_header_length"});
    }
}

TEST_CASE("A file cut anywhere is truncated and has no other verdict", "[package]") {
    for (const File& file : {dense_file(R"({"name":"x"})"), mixed_sparse_file(), low_rank_file()}) {
        for (std::size_t size = 0; size < file.bytes.size(); ++size) {
            CAPTURE(size);
            const Bytes cut = Bytes(file.bytes).first(size);
            CHECK(codes(read_package(cut)) == Codes{"truncated"});
            CHECK(codes(read_package(cut, ReadDepth::headers)) == Codes{"truncated"});
        }
    }
}

TEST_CASE("A cut file's readable parts are still judged", "[package]") {
    File file = dense_file();
    file.put(12, std::uint32_t{1}).put(256, nan_value);
    file.bytes.resize(320);
    CHECK(codes(file.read()) ==
          Codes{"truncated", "reserved_not_zero", "non_finite", "payload_checksum_mismatch"});
}

TEST_CASE("Bytes after the end are trailing_bytes, not a wrong checksum", "[package]") {
    for (const std::size_t more : {1U, 64U, 1000U}) {
        for (File file : {dense_file(), mixed_sparse_file(), low_rank_file()}) {
            const std::size_t size = file.bytes.size();
            file.bytes.resize(size + more, std::byte{1});
            const auto result = file.read();
            const Finding& finding = only_finding(result);
            CHECK(finding.code == FindingCode::trailing_bytes);
            CHECK(finding.offset == size);
        }
    }
}

TEST_CASE("Trailing bytes that the header counts are not canonical", "[package]") {
    File file = dense_file();
    file.bytes.resize(file.bytes.size() + 64);
    file.put(88, std::uint64_t{file.bytes.size()}).seal();
    const auto result = file.read();
    const Finding& finding = only_finding(result);
    CHECK(finding.code == FindingCode::offset_not_canonical);
    CHECK(finding.offset == 88);
}

TEST_CASE("A cut file whose header counts it so is not canonical", "[package]") {
    for (const File& file : {dense_file(), mixed_sparse_file(), low_rank_file()}) {
        // In the last payload, before the first, within the directory, and right after the header.
        for (const std::size_t size : {file.bytes.size() - 4, std::size_t{256}, std::size_t{192},
                                       std::size_t{156}, std::size_t{128}}) {
            CAPTURE(size);
            File cut = file;
            cut.bytes.resize(size);
            cut.put(88, std::uint64_t{size}).seal();
            for (const ReadDepth depth : {ReadDepth::headers, ReadDepth::everything}) {
                const Codes found = codes(cut.read(depth));
                CHECK(has(found, "offset_not_canonical"));
                CHECK_FALSE(has(found, "checksum_mismatch"));
                CHECK_FALSE(has(found, "payload_checksum_mismatch"));
            }
        }
    }
}

TEST_CASE("A stored checksum of 0 is never right", "[package]") {
    File file = dense_file();
    file.put(120, std::uint64_t{0});
    CHECK(codes(file.read()) == Codes{"checksum_mismatch"});
    CHECK(file.read().error().exit_code() == ExitCode::drift);
}

// ----------------------------------------------------------------------------------------- fields

TEST_CASE("Every rule about a field of the header or a dense entry", "[package]") {
    const std::uint64_t big = std::uint64_t{1} << 63;
    check_mutations(
        dense_file(),
        {
            {"package_flags", 12, 4, 1, {"reserved_not_zero"}},
            {"reserved", 52, 4, big >> 32, {"reserved_not_zero"}},
            {"first kind byte", 96, 1, 1, {"reserved_not_zero"}},
            {"last kind byte", 119, 1, 0x80, {"reserved_not_zero"}},
            {"entry_count 0", 48, 4, 0, {"bad_value"}},
            {"entry_count 22 of 21", 48, 4, 22, {"bad_value"}},
            {"entry_count huge", 48, 4, 0xffffffff, {"limit_exceeded", "bad_value"}},
            {"tensor_count 1", 20, 4, 1, {"bad_value"}},
            {"tensor_count at the limit", 20, 4, 65'536, {}},
            {"tensor_count past the limit", 20, 4, 65'537, {"limit_exceeded"}},
            {"directory_offset", 56, 8, 192, {"offset_not_canonical"}},
            {"directory_offset huge", 56, 8, big, {"offset_not_canonical"}},
            {"metadata_offset without metadata", 64, 8, 256, {"offset_not_canonical"}},
            {"payload_offset", 80, 8, 320, {"offset_not_canonical"}},
            {"payload_offset huge", 80, 8, ~std::uint64_t{0}, {"offset_not_canonical"}},
            {"rank 0", entry(0) + 8, 4, 0, {"bad_rank"}},
            {"rank 5", entry(0) + 8, 4, 5, {"bad_rank"}},
            {"rank huge", entry(0) + 8, 4, 0xffffffff, {"bad_rank"}},
            {"rank 4 with ones", entry(0) + 8, 4, 4, {}},
            {"dim 0", entry(0) + 16, 4, 0, {"bad_dim"}},
            {"dim 2^31", entry(0) + 16, 4, 0x80000000, {"bad_dim"}},
            {"unused dim 0", entry(0) + 24, 4, 0, {"bad_dim"}},
            {"unused dim 2", entry(0) + 28, 4, 2, {"bad_dim"}},
            {"encoding", entry(1) + 12, 4, 1, {"reserved_not_zero"}},
            {"detail", entry(1) + 48, 8, big, {"reserved_not_zero"}},
            {"payload_offset of an entry", entry(0) + 32, 8, 320, {"offset_not_canonical"}},
            {"payload_offset of the last", entry(1) + 32, 8, 384, {"offset_not_canonical"}},
            {"payload_offset past the end", entry(1) + 32, 8, big, {"offset_not_canonical"}},
            {"payload_length less", entry(0) + 40, 8, 36, {"length_mismatch"}},
            {"payload_length of the last", entry(1) + 40, 8, 16, {"length_mismatch"}},
            {"payload_length wraps", entry(0) + 40, 8, ~std::uint64_t{47}, {"length_mismatch"}},
            {"dims contradict the length", entry(0) + 20, 4, 6, {"length_mismatch"}},
            {"directory not sorted", entry(1), 8, 1, {"directory_not_sorted"}},
            {"equal hashes", entry(1), 8, tensor_name_hash("a"), {"directory_not_sorted"}},
        });
}

TEST_CASE("Every rule about a field of a sparse package", "[package]") {
    const File valid = mixed_sparse_file();
    check_mutations(valid,
                    {
                        {"mask_method 4", 100, 4, 4, {"bad_value"}},
                        {"mask_method 3", 100, 4, 3, {}},
                        {"mask_seed without method 2", 104, 8, 1, {"bad_value"}},
                        {"encoding 0", entry(0) + 12, 4, 0, {"bad_value"}},
                        {"encoding 3", entry(0) + 12, 4, 3, {"bad_value"}},
                        {"count 0", entry(0) + 48, 8, 0, {"bad_value"}},
                        {"count n + 1", entry(0) + 48, 8, 11, {"bad_value"}},
                        {"count huge", entry(0) + 48, 8, ~std::uint64_t{0}, {"bad_value"}},
                        {"count contradicts the length", entry(0) + 48, 8, 4, {"length_mismatch"}},
                        {"count of a bitmask", entry(1) + 48, 8, 5, {"length_mismatch"}},
                        {"payload_length", entry(1) + 40, 8, 81, {"length_mismatch"}},
                        {"rank 0", entry(0) + 8, 4, 0, {"bad_rank"}},
                        {"dim 0", entry(0) + 16, 4, 0, {"bad_dim"}},
                        {"retention", 96, 4, 0x3f000000, {"retention_mismatch"}},
                        {"retention NaN", 96, 4, 0x7fc00000, {"retention_mismatch"}},
                    });
    File seeded = valid;
    seeded.put(100, std::uint32_t{2}).put(104, ~std::uint64_t{0}).seal();
    CHECK(codes(seeded.read()) == Codes{});
}

TEST_CASE("Retention is compared bit for bit", "[package]") {
    File file = mixed_sparse_file();
    file.put(96, file.get<std::uint32_t>(96) + 1).seal();
    CHECK(codes(file.read()) == Codes{"retention_mismatch"});
    CHECK(codes(file.read(ReadDepth::headers)) == Codes{"retention_mismatch"});
}

TEST_CASE("Every rule about a field of a low-rank package", "[package]") {
    check_mutations(low_rank_file(),
                    {
                        {"source_kind 4", 96, 4, 4, {"bad_value"}},
                        {"source_kind 3", 96, 4, 3, {}},
                        {"reserved", 100, 4, 1, {"reserved_not_zero"}},
                        {"first byte of a source hash", 104, 1, 1, {"bad_value"}},
                        {"last byte of a source hash", 119, 1, 1, {"bad_value"}},
                        {"encoding", entry(0) + 12, 4, 1, {"reserved_not_zero"}},
                        {"tensor rank 0", entry(0) + 8, 4, 0, {"bad_rank", "bad_low_rank"}},
                        {"tensor rank 5", entry(0) + 8, 4, 5, {"bad_rank", "bad_low_rank"}},
                        {"tensor rank 1", entry(0) + 8, 4, 1, {"bad_low_rank", "bad_dim"}},
                        {"tensor rank 3", entry(0) + 8, 4, 3, {"bad_low_rank"}},
                        {"r 0", entry(0) + 48, 4, 0, {"bad_low_rank"}},
                        {"r min + 1", entry(0) + 48, 4, 4, {"bad_low_rank"}},
                        {"r 4096", entry(0) + 48, 4, 4096, {"bad_low_rank"}},
                        {"r 4097", entry(0) + 48, 4, 4097, {"bad_low_rank", "limit_exceeded"}},
                        {"r contradicts the length", entry(0) + 48, 4, 3, {"length_mismatch"}},
                        {"scale 0", entry(0) + 52, 4, 0, {"bad_low_rank"}},
                        {"scale -0", entry(0) + 52, 4, 0x80000000, {"bad_low_rank"}},
                        {"scale inf", entry(0) + 52, 4, 0x7f800000, {"bad_low_rank"}},
                        {"scale NaN", entry(0) + 52, 4, 0xffc00000, {"bad_low_rank"}},
                        {"scale subnormal", entry(0) + 52, 4, 1, {}},
                        {"payload_length", entry(0) + 40, 8, 92, {"length_mismatch"}},
                    });
}

TEST_CASE("A finding says where, what was expected and what there is", "[package]") {
    File file = dense_file(R"({"tensor_names":["a","b"]})");
    file.put(entry(1) + 16, std::uint32_t{0}).seal();
    const auto result = file.read();
    const Finding& finding = only_finding(result);
    CHECK(finding.code == FindingCode::bad_dim);
    CHECK(finding.offset == entry(1) + 16);
    CHECK(finding.tensor == "b");
    CHECK(finding.expected == "1 to 2147483647");
    CHECK(finding.actual == "0");
    CHECK(finding.file.empty());
    CHECK(finding.severity == Severity::error);
    File nameless = dense_file();
    nameless.put(entry(1) + 16, std::uint32_t{0}).seal();
    CHECK(only_finding(nameless.read()).tensor == "0xaf63df4c8601f1a5");
}

// ----------------------------------------------------------------------------------------- layout

TEST_CASE("A hole before the payloads is one finding", "[package]") {
    // Everything from 256 on moves by 64.
    File file = dense_file();
    file.bytes.insert(file.bytes.begin() + 256, 64, std::byte{0});
    file.put(80, std::uint64_t{320}).put(88, std::uint64_t{file.bytes.size()});
    for (const std::uint64_t i : {0U, 1U}) {
        file.put(entry(i) + 32, file.get<std::uint64_t>(entry(i) + 32) + 64);
    }
    const auto result = file.seal().read();
    CHECK(only_finding(result).code == FindingCode::offset_not_canonical);
    CHECK(only_finding(result).offset == 80);
}

TEST_CASE("A hole between payloads is one finding, and what follows is still judged", "[package]") {
    File file = dense_file();
    const auto last = file.get<std::uint64_t>(entry(1) + 32);
    file.bytes.insert(file.bytes.begin() + static_cast<std::ptrdiff_t>(last), 64, std::byte{0});
    file.put(88, std::uint64_t{file.bytes.size()}).put(entry(1) + 32, last + 64);
    CHECK(codes(file.seal().read()) == Codes{"offset_not_canonical"});

    Content three = dense_content();
    three.entries.push_back(three.entries.back());
    three.entries.back().name_hash = ~std::uint64_t{0};
    File wrong_length = build(three);
    const auto third = wrong_length.get<std::uint64_t>(entry(2) + 32);
    wrong_length.put(entry(1) + 40, std::uint64_t{1}).put(third, nan_value).seal_payload(2).seal();
    CHECK(codes(wrong_length.read()) == Codes{"length_mismatch", "non_finite"});

    File overlapping = build(three);
    overlapping.put(entry(1) + 40, std::uint64_t{1}).put(entry(2) + 32, std::uint64_t{128});
    CHECK(codes(overlapping.seal().read()) == Codes{"length_mismatch", "offset_not_canonical"});

    File misaligned = build(three);
    misaligned.put(entry(1) + 40, std::uint64_t{1}).put(entry(2) + 32, third + 4);
    CHECK(codes(misaligned.seal().read()) == Codes{"length_mismatch", "offset_not_canonical"});

    File outside = build(three);
    outside.put(entry(1) + 40, std::uint64_t{1}).put(entry(2) + 32, ~std::uint64_t{63});
    CHECK(codes(outside.seal().read()) == Codes{"length_mismatch", "offset_not_canonical"});
}

TEST_CASE("Padding is zero everywhere", "[package]") {
    // After the metadata, and between two payloads.
    File dense = dense_file(R"({"name":"x"})");
    for (const std::uint64_t offset : {268U, 319U, 360U, 383U}) {
        File file = dense;
        file.put(offset, std::uint8_t{1});
        const auto unsealed = codes(file.read());
        CHECK(unsealed == Codes{"checksum_mismatch", "padding_not_zero"});
        const auto result = file.seal().read();
        CHECK(only_finding(result).code == FindingCode::padding_not_zero);
        CHECK(only_finding(result).offset == offset);
        CHECK(codes(file.read(ReadDepth::headers)) == Codes{});
    }
    // Inside payloads.
    for (File file :
         {sparse_file({index_list("a")}), sparse_file({bitmask("b")}), low_rank_file()}) {
        file.put(192 + 63, std::uint8_t{0x80});
        file.seal_payload(0).seal();
        const auto result = file.read();
        CHECK(only_finding(result).code == FindingCode::padding_not_zero);
        CHECK(only_finding(result).offset == 255);
    }
}

// ----------------------------------------------------------------------------------------- limits

namespace {

// The codes of a package of one entry whose payload is not there.
Codes codes_of_shape(std::string_view magic, std::uint32_t rank, std::array<std::uint32_t, 4> dims,
                     std::uint64_t length, std::uint64_t detail = 0) {
    Entry entry_of_shape{.name_hash = 1, .rank = rank, .dims = dims, .detail = detail};
    entry_of_shape.encoding = magic == "ASP1" ? 1 : 0;
    File file = build({.magic = magic, .entries = {entry_of_shape}});
    return codes(file.put(entry(0) + 40, length).seal().read());
}

}  // namespace

TEST_CASE("Elements of a tensor, at the limit and one past", "[package]") {
    // Right but for the payload that is missing: only the file's length is wrong.
    const Codes absent{"offset_not_canonical"};
    const std::uint32_t million = 1 << 20;
    CHECK(codes_of_shape("ADP1", 1, {2'147'483'647, 1, 1, 1}, 4 * 2'147'483'647ULL) == absent);
    CHECK(codes_of_shape("ADP1", 2, {million, million, 1, 1}, std::uint64_t{1} << 42) == absent);
    CHECK(codes_of_shape("ADP1", 2, {million, million + 1, 1, 1}, 0) == Codes{"limit_exceeded"});
    CHECK(codes_of_shape("ADP1", 4, {65'536, 65'536, 65'536, 32'768}, 0) ==
          Codes{"limit_exceeded"});
    CHECK(codes_of_shape("ADP1", 4, {65'536, 65'536, 65'536, 65'536}, 0) ==
          Codes{"size_overflow", "limit_exceeded"});
    CHECK(codes_of_shape("ADP1", 4, {2'147'483'647, 2'147'483'647, 2'147'483'647, 2'147'483'647},
                         0) == Codes{"size_overflow", "limit_exceeded"});
    CHECK(codes_of_shape("ASP1", 2, {65'536, 65'537, 1, 1}, 68, 1) == Codes{"limit_exceeded"});
}

TEST_CASE("The rank of an ALR1, at the limit and one past", "[package]") {
    const std::uint64_t scale = std::uint64_t{0x3f800000} << 32;
    CHECK(codes_of_shape("ALR1", 2, {5'000, 5'000, 1, 1}, 8ULL * 4'096 * 5'000, 4'096 | scale) ==
          Codes{"offset_not_canonical"});
    CHECK(codes_of_shape("ALR1", 2, {5'000, 5'000, 1, 1}, 8ULL * 4'097 * 5'000, 4'097 | scale) ==
          Codes{"bad_low_rank", "limit_exceeded"});
}

TEST_CASE("65,536 entries are read, one more is refused", "[package]") {
    Content content{.tensor_count = 65'536};
    for (std::uint32_t i = 0; i < 65'536; ++i) {
        content.entries.push_back({.name_hash = i, .payload = floats({1.0F})});
    }
    CHECK(codes(build(content).read()) == Codes{});
    content.tensor_count = 65'537;
    content.entries.push_back({.name_hash = 65'536, .payload = floats({1.0F})});
    CHECK(codes(build(content).read()) == Codes{"limit_exceeded", "limit_exceeded"});
}

TEST_CASE("More findings than are kept are counted", "[package]") {
    Content content{.tensor_count = 2'000};
    for (std::uint32_t i = 0; i < 2'000; ++i) {
        content.entries.push_back({.name_hash = i, .payload = floats({nan_value})});
    }
    const auto result = build(content).read();
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().size() == 1'000);
    CHECK(result.error().dropped() == 1'000);
}

// ---------------------------------------------------------------------------------------- payload

TEST_CASE("Values are finite, the first offending one of each tensor is named", "[package]") {
    File dense = dense_file();
    const auto second = dense.get<std::uint64_t>(entry(1) + 32);
    dense.put(256 + 4 * 7, infinity).put(256 + 4 * 9, nan_value).put(second + 8, -infinity);
    dense.seal_payload(0).seal_payload(1).seal();
    const auto result = dense.read();
    REQUIRE(codes(result) == Codes{"non_finite", "non_finite"});
    CHECK(result.error()[0].element == 7);
    CHECK(result.error()[0].offset == 256 + 28);
    CHECK(result.error()[0].actual == "inf");
    CHECK(result.error()[0].tensor == "0xaf63dc4c8601ec8c");
    CHECK(result.error()[1].element == 2);
    CHECK(result.error()[1].actual == "-inf");
    CHECK(codes(dense.read(ReadDepth::headers)) == Codes{});

    File list = sparse_file({index_list("a")});
    list.put(256 + 4, nan_value).seal_payload(0).seal();
    CHECK(only_finding(list.read()).code == FindingCode::non_finite);
    CHECK(only_finding(list.read()).element == 1);

    File low_rank = low_rank_file();
    low_rank.put(192 + 4 * 3, nan_value).put(256 + 4, nan_value).seal_payload(0).seal();
    const auto in_a = low_rank.read();
    CHECK(only_finding(in_a).message.find("element 3 of A") == 0);
    File in_b = low_rank_file();
    in_b.put(256 + 4 * 5, nan_value).seal_payload(0).seal();
    CHECK(only_finding(in_b.read()).message.find("element 5 of B") == 0);
    CHECK(only_finding(in_b.read()).offset == 256 + 20);
}

TEST_CASE("Indexes ascend strictly and lie inside the tensor", "[package]") {
    struct Case {
        std::array<std::uint32_t, 3> indexes;
        FindingCode code;
        std::uint64_t element;
    };
    const Case cases[] = {
        {{4, 1, 9}, FindingCode::index_not_ascending, 1},
        {{1, 1, 9}, FindingCode::index_not_ascending, 1},
        {{1, 4, 4}, FindingCode::index_not_ascending, 2},
        {{1, 4, 10}, FindingCode::index_out_of_range, 2},
        {{0xffffffff, 4, 9}, FindingCode::index_out_of_range, 0},
        {{4, 1, 10}, FindingCode::index_not_ascending, 1},
    };
    for (const Case& bad : cases) {
        File file = sparse_file({index_list("a")});
        file.put(192, bad.indexes).seal_payload(0);
        seal_mask(file).seal();
        const auto result = file.read();
        const Finding& finding = only_finding(result);
        CHECK(finding.code == bad.code);
        CHECK(finding.element == bad.element);
        CHECK(finding.offset == 192 + 4 * bad.element);
        // The mask's checksum is judged only where the indexes are right.
        file.put(112, std::uint64_t{5}).seal();
        CHECK(only_finding(file.read()).code == bad.code);
    }
}

TEST_CASE("A bitmask has count bits, none past the end", "[package]") {
    File fewer = sparse_file({bitmask("b")});
    fewer.put(192, std::uint8_t{0x80}).seal_payload(0).seal();
    const auto too_few = fewer.read();
    CHECK(only_finding(too_few).code == FindingCode::count_mismatch);
    CHECK(only_finding(too_few).expected == "4");
    CHECK(only_finding(too_few).actual == "3");

    File past = sparse_file({bitmask("b")});
    past.put(193, std::uint8_t{0x31}).seal_payload(0).seal();
    const auto past_end = past.read();
    CHECK(only_finding(past_end).code == FindingCode::mask_bits_past_end);
    CHECK(only_finding(past_end).element == 13);
    CHECK(only_finding(past_end).offset == 193);

    File both = sparse_file({bitmask("b")});
    both.put(193, std::uint8_t{0x30}).seal_payload(0).put(96, 0.5F).seal();
    CHECK(codes(both.read()) == Codes{"count_mismatch", "mask_bits_past_end"});
}

TEST_CASE("Payload and mask checksums", "[package]") {
    for (File file : {dense_file(), mixed_sparse_file(), low_rank_file()}) {
        file.put(entry(0) + 56, std::uint64_t{0}).seal();
        const auto result = file.read();
        CHECK(only_finding(result).code == FindingCode::payload_checksum_mismatch);
        CHECK(only_finding(result).offset == entry(0) + 56);
        CHECK(result.error().exit_code() == ExitCode::drift);
        CHECK(codes(file.read(ReadDepth::headers)) == Codes{});
    }
    File mask = mixed_sparse_file();
    mask.put(112, std::uint64_t{0}).seal();
    CHECK(only_finding(mask.read()).code == FindingCode::mask_checksum_mismatch);
    CHECK(mask.read().error().exit_code() == ExitCode::drift);
    // With an entry too few, what the checksum covers is not known.
    File fewer = mixed_sparse_file();
    fewer.put(48, std::uint32_t{1}).seal();
    const auto result = fewer.read();
    CHECK(has(codes(result), "offset_not_canonical"));
    CHECK(result.error().exit_code() == ExitCode::invalid);
}

TEST_CASE("Every flipped bit of a sealed file is noticed", "[package]") {
    for (const File& valid :
         {dense_file(R"({"name":"x"})"), mixed_sparse_file(), low_rank_file()}) {
        for (std::size_t i = 0; i < valid.bytes.size(); ++i) {
            File file = valid;
            file.bytes[i] ^= std::byte{0x10};
            const Codes found = codes(file.read());
            CAPTURE(i);
            const bool length_differs = i >= 88 && i < 96;
            if (i < 12) {
                CHECK(found.size() == 1);
            } else {
                CHECK(has(found, "checksum_mismatch") != length_differs);
            }
            // Sealed again it is valid or not, but has no wrong file checksum.
            CHECK_FALSE(has(codes(file.seal().read()), "checksum_mismatch"));
        }
    }
}

// --------------------------------------------------------------------------------------- metadata

namespace {

const Finding& bad_metadata(const Result<Package>& result) {
    const Finding& finding = only_finding(result);
    CHECK(finding.code == FindingCode::bad_metadata);
    return finding;
}

}  // namespace

TEST_CASE("Metadata that is right", "[package]") {
    for (const char* text :
         {"{}", R"({"tensor_names":["a","b"]})", R"({"anything":[1,{"deep":null}],"name":""})",
          R"({"name":"n","description":"d","license":"l","source":"s"})"}) {
        const File file = dense_file(text);
        const auto package = file.read();
        REQUIRE(codes(package) == Codes{});
        CHECK(package->metadata() == text);
    }
}

TEST_CASE("Every defect of the metadata is bad_metadata", "[package]") {
    struct Case {
        std::string text;
        std::string pointer;
    };
    const Case cases[] = {
        {"{", ""},
        {"[]", ""},
        {"\"text\"", ""},
        {"{} x", ""},
        {"\xef\xbb\xbf{}", ""},
        {std::string("{}\0", 3), ""},
        {"{\"a\":\"\xff\"}", "/a"},
        {R"({"a":1e400})", "/a"},
        {R"({"x":{"k":1,"k":2}})", "/x/k"},
        {R"({"name":1})", "/name"},
        {R"({"description":null})", "/description"},
        {R"({"license":["MIT"]})", "/license"},
        {R"({"source":{}})", "/source"},
        {R"({"tensor_names":"a"})", "/tensor_names"},
        {R"({"tensor_names":["a"]})", "/tensor_names"},
        {R"({"tensor_names":["a","b","c"]})", "/tensor_names"},
        {R"({"tensor_names":["a",7]})", "/tensor_names/1"},
        {R"({"tensor_names":["c","b"]})", "/tensor_names/0"},
    };
    for (const Case& bad : cases) {
        CAPTURE(bad.text);
        const File file = dense_file(bad.text);
        CHECK(bad_metadata(file.read()).pointer == bad.pointer);
        CHECK(bad_metadata(file.read(ReadDepth::headers)).pointer == bad.pointer);
    }
    const File several = dense_file(R"({"name":1,"a":0,"tensor_names":["b","a"],"source":2})");
    CHECK(codes(several.read()) == Codes(4, "bad_metadata"));
}

TEST_CASE("The offset of a defect in the metadata is that of the file", "[package]") {
    CHECK(bad_metadata(dense_file(R"({"a":1,"a":2})").read()).offset == 256 + 7);
}

TEST_CASE("Metadata of 1 MiB and of depth 16, and one past", "[package]") {
    const auto of_size = [](std::size_t size) {
        return dense_file(R"({"a":")" + std::string(size - 8, 'x') + "\"}");
    };
    CHECK(codes(of_size(1'048'576).read()) == Codes{});
    CHECK(bad_metadata(of_size(1'048'577).read()).offset == 72);
    const auto of_depth = [](std::size_t depth) {
        return dense_file("{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') +
                          "}");
    };
    CHECK(codes(of_depth(16).read()) == Codes{});
    bad_metadata(of_depth(17).read());
}

TEST_CASE("A wrong metadata length or offset", "[package]") {
    const File valid = dense_file(R"({"name":"x"})");
    File longer = valid;
    longer.put(72, std::uint64_t{13}).seal();
    bad_metadata(longer.read());
    File huge = valid;
    huge.put(72, ~std::uint64_t{0}).seal();
    bad_metadata(huge.read());
    File outside = valid;
    outside.put(72, std::uint64_t{1'000'000}).seal();
    bad_metadata(outside.read());
    File moved = valid;
    moved.put(64, std::uint64_t{320}).seal();
    CHECK(codes(moved.read()) == Codes{"offset_not_canonical"});
    File none = valid;
    none.put(72, std::uint64_t{0}).seal();
    CHECK(codes(none.read()) == Codes{"offset_not_canonical"});
}

TEST_CASE("Names stay empty unless all are right", "[package]") {
    const File file = dense_file(R"({"tensor_names":["a","c"]})");
    CHECK(bad_metadata(file.read()).tensor == "0xaf63df4c8601f1a5");
}

// ------------------------------------------------------------------------------------------ names

TEST_CASE("Formats are known by their magic", "[package]") {
    CHECK(detect_format(as_bytes("SLM1")) == FileFormat::slm1);
    CHECK(detect_format(as_bytes("ADP1 and more")) == FileFormat::adp1);
    CHECK(detect_format(as_bytes("ASP1")) == FileFormat::asp1);
    CHECK(detect_format(as_bytes("ALR1")) == FileFormat::alr1);
    CHECK_FALSE(detect_format(as_bytes("ALR")).has_value());
    CHECK_FALSE(detect_format(as_bytes("ALR2")).has_value());
    CHECK_FALSE(detect_format({}).has_value());
    CHECK(to_string(FileFormat::slm1) == "SLM1");
    CHECK(to_string(FileFormat::alr1) == "ALR1");
}

TEST_CASE("Enumerations have names", "[package]") {
    CHECK(to_string(PackageKind::dense) == "ADP1");
    CHECK(to_string(PackageKind::sparse) == "ASP1");
    CHECK(to_string(PackageKind::low_rank) == "ALR1");
    CHECK(to_string(MaskMethod::unspecified) == "unspecified");
    CHECK(to_string(MaskMethod::magnitude) == "magnitude");
    CHECK(to_string(MaskMethod::random_drop) == "random-drop");
    CHECK(to_string(MaskMethod::sign_consensus) == "sign-consensus");
    CHECK(to_string(SourceKind::none) == "none");
    CHECK(to_string(SourceKind::lora) == "lora");
    CHECK(to_string(SourceKind::svd) == "svd");
    CHECK(to_string(SourceKind::other) == "other");
}

TEST_CASE("reading a package can be cancelled") {
    File file = dense_file();
    file.bytes.resize(file.bytes.size() + 2'000'000);
    const auto told =
        read_package(file.bytes, ReadDepth::everything, [](auto, auto) { return true; });
    CHECK(has(codes(told), "trailing_bytes"));
    CHECK_FALSE(has(codes(told), "output_failed"));
    const auto cancelled =
        read_package(file.bytes, ReadDepth::everything, [](auto, auto) { return false; });
    CHECK(codes(cancelled) == Codes{"output_failed"});
}
