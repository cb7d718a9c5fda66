#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "support/catch.hpp"
#include "support/package_bytes.hpp"
#include "support/project_file.hpp"
#include "trlm/adapt/package.hpp"

using namespace trlm::adapt;
using package_bytes::codes;
using package_bytes::Codes;

namespace {

constexpr Identity identity{1, 21, 103232, 0x1111, 0x2222};

std::vector<float> counted(std::size_t count) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i)
        values[i] = 0.25F + static_cast<float>(i);
    return values;
}

PackageContent content_of(PackageKind kind, std::vector<EntryContent> entries) {
    PackageContent content;
    content.kind = kind;
    content.identity = identity;
    content.entries = std::move(entries);
    return content;
}

EntryContent entry_of(std::string_view name, Shape shape,
                      std::variant<DenseContent, SparseContent, LowRankContent> delta) {
    return {tensor_name_hash(name), shape, delta};
}

template <class T>
std::vector<T> elements_of(Bytes bytes) {
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
}

// Positions of a sparse delta as indexes.
std::vector<std::uint32_t> indexes_of(const SparseDelta& delta) {
    if (delta.encoding == SparseEncoding::index_list) {
        return elements_of<std::uint32_t>(delta.positions);
    }
    std::vector<std::uint32_t> indexes;
    for (std::uint32_t i = 0; i < 8 * delta.positions.size(); ++i) {
        const auto byte = std::to_integer<unsigned>(delta.positions[i / 8]);
        if ((byte >> i % 8 & 1) != 0) indexes.push_back(i);
    }
    return indexes;
}

// What writing what was read gives.
Result<std::vector<std::byte>> write_again(const Package& package) {
    std::vector<std::vector<float>> values;
    std::vector<std::vector<std::uint32_t>> indexes;
    const std::size_t count = package.entries().size();
    values.reserve(2 * count);
    indexes.reserve(count);
    PackageContent content = content_of(package.kind(), {});
    content.identity = package.identity();
    content.metadata = package.metadata();
    content.mask_method = package.mask_method();
    content.mask_seed = package.mask_seed();
    content.source_kind = package.source_kind();
    content.source_hash = package.source_hash();
    for (std::size_t i = count; i-- > 0;) {  // any order will do
        const PackageEntry& entry = package.entries()[i];
        const Delta delta = package.delta(i);
        EntryContent written{entry.name_hash, entry.shape, DenseContent{}};
        if (const auto* dense = std::get_if<DenseDelta>(&delta)) {
            written.delta = DenseContent{values.emplace_back(elements_of<float>(dense->values))};
        } else if (const auto* sparse = std::get_if<SparseDelta>(&delta)) {
            written.delta = SparseContent{indexes.emplace_back(indexes_of(*sparse)),
                                          values.emplace_back(elements_of<float>(sparse->values))};
        } else if (const auto* low_rank = std::get_if<LowRankDelta>(&delta)) {
            written.delta = LowRankContent{low_rank->rank, low_rank->scale,
                                           values.emplace_back(elements_of<float>(low_rank->a)),
                                           values.emplace_back(elements_of<float>(low_rank->b))};
        }
        content.entries.push_back(written);
    }
    return write_package(content);
}

std::vector<std::byte> read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> text((std::istreambuf_iterator<char>(file)), {});
    const Bytes bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("The adapters of the conformance vectors are written byte for byte", "[package_write]") {
    std::size_t adapters = 0;
    for (const auto& file :
         std::filesystem::directory_iterator(project_file("tests/conformance/vectors/adapters"))) {
        CAPTURE(file.path().string());
        const auto bytes = read_file(file.path());
        const auto package = read_package(bytes);
        REQUIRE(codes(package) == Codes{});
        const auto written = write_again(*package);
        REQUIRE(codes(written) == Codes{});
        CHECK(*written == bytes);
        ++adapters;
    }
    CHECK(adapters == 10);
}

TEST_CASE("A dense package has the bytes of the format", "[package_write]") {
    const auto a = counted(10);
    const auto b = counted(3);
    auto content =
        content_of(PackageKind::dense, {entry_of("b", {1, {3, 1, 1, 1}}, DenseContent{b}),
                                        entry_of("a", {2, {2, 5, 1, 1}}, DenseContent{a})});
    for (const char* metadata : {"", R"({"name":"x","tensor_names":["a","b"]})"}) {
        content.metadata = metadata;
        const auto written = write_package(content);
        REQUIRE(codes(written) == Codes{});
        CHECK(*written == package_bytes::build(package_bytes::dense_content(metadata)).bytes);
    }
}

TEST_CASE("A sparse package has the bytes of the format, without zeros", "[package_write]") {
    // Two zeros among the values, one of them negative, are dropped with their indexes.
    const std::vector<std::uint32_t> indexes = {0, 1, 4, 5, 9};
    const std::vector<float> values = {0.0F, 0.25F, 1.25F, -0.0F, 2.25F};
    const auto written = write_package(content_of(
        PackageKind::sparse, {entry_of("a", {2, {2, 5, 1, 1}}, SparseContent{indexes, values})}));
    REQUIRE(codes(written) == Codes{});
    CHECK(*written == package_bytes::sparse_file({package_bytes::index_list("a")}).bytes);
}

TEST_CASE("A low-rank package has the bytes of the format", "[package_write]") {
    const auto a = counted(8);
    const auto b = counted(6);
    const auto written = write_package(content_of(
        PackageKind::low_rank, {entry_of("w", {2, {3, 4, 1, 1}}, LowRankContent{2, 0.5F, a, b})}));
    REQUIRE(codes(written) == Codes{});
    CHECK(*written == package_bytes::build(package_bytes::low_rank_content()).bytes);
}

TEST_CASE("The kind's own header fields are written", "[package_write]") {
    const std::vector<std::uint32_t> indexes = {2};
    const std::vector<float> values = {1.0F};
    auto sparse = content_of(PackageKind::sparse,
                             {entry_of("a", {1, {8, 1, 1, 1}}, SparseContent{indexes, values})});
    sparse.mask_method = MaskMethod::random_drop;
    sparse.mask_seed = 77;
    const auto dropped = write_package(sparse);
    REQUIRE(codes(dropped) == Codes{});
    CHECK(load<std::uint32_t>(*dropped, 100) == 2);
    CHECK(load<std::uint64_t>(*dropped, 104) == 77);
    CHECK(load<float>(*dropped, 96) == 0.125F);

    const auto factor = counted(2);
    auto low_rank =
        content_of(PackageKind::low_rank,
                   {entry_of("a", {2, {2, 2, 1, 1}}, LowRankContent{1, -2.0F, factor, factor})});
    low_rank.source_kind = SourceKind::svd;
    low_rank.source_hash.fill(std::byte{0xcd});
    const auto factored = write_package(low_rank);
    REQUIRE(codes(factored) == Codes{});
    CHECK(load<std::uint32_t>(*factored, 96) == 2);
    CHECK(to_hex(slice(*factored, 104, 16)) == "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd");
}

TEST_CASE("The sparse encoding with fewer bytes is chosen, the index list on a tie",
          "[package_write]") {
    struct Case {
        std::uint32_t elements;
        std::uint32_t count;
        SparseEncoding encoding;
    };
    // Index list: 4 * count bytes, bitmask: elements / 8, each padded to 64.
    const Case cases[] = {
        {512, 16, SparseEncoding::index_list},   // 64 and 64
        {512, 17, SparseEncoding::bitmask},      // 128 and 64
        {513, 17, SparseEncoding::index_list},   // 128 and 128
        {513, 16, SparseEncoding::index_list},   // 64 and 128
        {1024, 33, SparseEncoding::bitmask},     // 192 and 128
        {1025, 48, SparseEncoding::index_list},  // 192 and 192
        {1, 1, SparseEncoding::index_list},
    };
    for (const Case& choice : cases) {
        CAPTURE(choice.elements, choice.count);
        std::vector<std::uint32_t> indexes(choice.count);
        for (std::uint32_t i = 0; i < choice.count; ++i) {
            indexes[i] = choice.elements - choice.count + i;
        }
        const auto values = counted(choice.count);
        const auto written = write_package(content_of(
            PackageKind::sparse,
            {entry_of("a", {1, {choice.elements, 1, 1, 1}}, SparseContent{indexes, values})}));
        REQUIRE(codes(written) == Codes{});
        const auto package = read_package(*written);
        REQUIRE(codes(package) == Codes{});
        const auto delta = std::get<SparseDelta>(package->delta(0));
        CHECK(delta.encoding == choice.encoding);
        CHECK(indexes_of(delta) == indexes);
        CHECK(elements_of<float>(delta.values) == values);
    }
}

TEST_CASE("Subnormal values are kept", "[package_write]") {
    const std::vector<std::uint32_t> indexes = {0, 3};
    const std::vector<float> values = {std::numeric_limits<float>::denorm_min(), 0.0F};
    const auto written = write_package(content_of(
        PackageKind::sparse, {entry_of("a", {1, {4, 1, 1, 1}}, SparseContent{indexes, values})}));
    REQUIRE(codes(written) == Codes{});
    CHECK(read_package(*written)->entries()[0].count == 1);
}

TEST_CASE("Spans that contradict the shape are length_mismatch", "[package_write]") {
    const auto values = counted(64);
    const std::span<const float> all(values);
    const std::vector<std::uint32_t> indexes = {0, 1, 2};
    const Shape shape{2, {3, 4, 1, 1}};
    const auto dense = [&](std::size_t count) {
        return codes(write_package(content_of(
            PackageKind::dense, {entry_of("a", shape, DenseContent{all.first(count)})})));
    };
    CHECK(dense(12) == Codes{});
    CHECK(dense(11) == Codes{"length_mismatch"});
    CHECK(dense(13) == Codes{"length_mismatch"});
    CHECK(dense(0) == Codes{"length_mismatch"});
    const auto sparse = [&](std::size_t count) {
        return codes(write_package(
            content_of(PackageKind::sparse,
                       {entry_of("a", shape, SparseContent{indexes, all.first(count)})})));
    };
    CHECK(sparse(3) == Codes{});
    CHECK(sparse(2) == Codes{"length_mismatch"});
    CHECK(sparse(4) == Codes{"length_mismatch"});
    const auto low_rank = [&](std::size_t a, std::size_t b) {
        return codes(write_package(content_of(
            PackageKind::low_rank,
            {entry_of("a", shape, LowRankContent{2, 1.0F, all.first(a), all.first(b)})})));
    };
    CHECK(low_rank(8, 6) == Codes{});
    CHECK(low_rank(6, 8) == Codes{"length_mismatch", "length_mismatch"});
    CHECK(low_rank(8, 7) == Codes{"length_mismatch"});
}

TEST_CASE("What the reader would refuse is not written", "[package_write]") {
    const auto values = counted(64);
    const std::span<const float> all(values);
    const std::vector<float> not_finite = {1.0F, std::numeric_limits<float>::infinity()};
    const std::vector<float> zeros = {0.0F, -0.0F};
    const std::vector<std::uint32_t> first_two = {0, 1};
    const std::vector<std::uint32_t> descending = {1, 0};
    const std::vector<std::uint32_t> repeated = {1, 1};
    const std::vector<std::uint32_t> outside = {0, 2};
    const Shape two{1, {2, 1, 1, 1}};
    const Shape square{2, {2, 2, 1, 1}};
    const auto dense = [&](Shape shape, std::span<const float> span) {
        return codes(write_package(
            content_of(PackageKind::dense, {entry_of("a", shape, DenseContent{span})})));
    };
    CHECK(dense(two, not_finite) == Codes{"non_finite"});
    CHECK(dense({0, {2, 1, 1, 1}}, all.first(2)) == Codes{"bad_rank"});
    CHECK(dense({5, {2, 1, 1, 1}}, all.first(2)) == Codes{"bad_rank"});
    CHECK(dense({1, {0, 1, 1, 1}}, {}) == Codes{"bad_dim"});
    CHECK(dense({1, {2, 2, 1, 1}}, all.first(2)) == Codes{"bad_dim"});
    CHECK(dense({2, {1U << 20, (1U << 20) + 1, 1, 1}}, {}) == Codes{"limit_exceeded"});

    const auto sparse = [&](std::span<const std::uint32_t> indexes, std::span<const float> span) {
        return codes(write_package(
            content_of(PackageKind::sparse, {entry_of("a", two, SparseContent{indexes, span})})));
    };
    CHECK(sparse(first_two, zeros) == Codes{"bad_value"});
    CHECK(sparse({}, {}) == Codes{"bad_value"});
    CHECK(sparse(descending, all.first(2)) == Codes{"index_not_ascending"});
    CHECK(sparse(repeated, all.first(2)) == Codes{"index_not_ascending"});
    CHECK(sparse(outside, all.first(2)) == Codes{"index_out_of_range"});
    CHECK(sparse(first_two, not_finite) == Codes{"non_finite"});

    const auto low_rank = [&](Shape shape, std::uint32_t rank, float scale) {
        const std::size_t size = std::size_t{2} * rank;
        return codes(write_package(
            content_of(PackageKind::low_rank,
                       {entry_of("a", shape,
                                 LowRankContent{rank, scale, all.first(size), all.first(size)})})));
    };
    CHECK(low_rank(square, 2, 1.0F) == Codes{});
    CHECK(low_rank(square, 0, 1.0F) == Codes{"bad_low_rank"});
    CHECK(low_rank(square, 3, 1.0F) == Codes{"bad_low_rank"});
    CHECK(low_rank(square, 1, 0.0F) == Codes{"bad_low_rank"});
    CHECK(low_rank(square, 1, std::numeric_limits<float>::quiet_NaN()) == Codes{"bad_low_rank"});
    CHECK(low_rank(two, 1, 1.0F) == Codes{"bad_low_rank"});
}

TEST_CASE("A package's entries are of its kind, at least one, and each of its own tensor",
          "[package_write]") {
    const auto values = counted(2);
    const Shape shape{1, {2, 1, 1, 1}};
    const EntryContent entry = entry_of("a", shape, DenseContent{values});
    CHECK(codes(write_package(content_of(PackageKind::sparse, {entry}))) == Codes{"bad_value"});
    CHECK(codes(write_package(content_of(PackageKind::dense, {}))) == Codes{"bad_value"});
    CHECK(codes(write_package(content_of(PackageKind::sparse, {}))) == Codes{"bad_value"});
    CHECK(codes(write_package(content_of(PackageKind::dense, {entry, entry}))) ==
          Codes{"directory_not_sorted"});
    auto few = content_of(PackageKind::dense, {entry, entry_of("b", shape, DenseContent{values})});
    few.identity.tensor_count = 1;
    CHECK(codes(write_package(few)) == Codes{"bad_value"});
    CHECK(codes(write_package(
              content_of(PackageKind::dense, std::vector<EntryContent>(65'537, entry)))) ==
          Codes{"limit_exceeded"});
}

TEST_CASE("Header fields and metadata that break a rule are refused", "[package_write]") {
    const auto values = counted(4);
    const std::vector<std::uint32_t> indexes = {0, 1};
    const std::span<const float> two = std::span(values).first(2);
    auto sparse = content_of(PackageKind::sparse,
                             {entry_of("a", {1, {2, 1, 1, 1}}, SparseContent{indexes, two})});
    sparse.mask_seed = 1;
    CHECK(codes(write_package(sparse)) == Codes{"bad_value"});
    sparse.mask_seed = 0;
    sparse.mask_method = static_cast<MaskMethod>(4);
    CHECK(codes(write_package(sparse)) == Codes{"bad_value"});

    auto low_rank =
        content_of(PackageKind::low_rank,
                   {entry_of("a", {2, {2, 2, 1, 1}}, LowRankContent{1, 1.0F, two, two})});
    low_rank.source_hash[3] = std::byte{1};
    CHECK(codes(write_package(low_rank)) == Codes{"bad_value"});
    low_rank.source_kind = static_cast<SourceKind>(9);
    CHECK(codes(write_package(low_rank)) == Codes{"bad_value"});

    auto dense =
        content_of(PackageKind::dense, {entry_of("a", {1, {2, 1, 1, 1}}, DenseContent{two})});
    for (const std::string& text :
         {std::string("[]"), std::string("{"), std::string(R"({"a":1,"a":1})"),
          std::string(R"({"tensor_names":["b"]})"), std::string(1'048'577, ' ')}) {
        dense.metadata = text;
        CHECK(codes(write_package(dense)) == Codes{"bad_metadata"});
    }
}
