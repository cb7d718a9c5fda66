#include "trlm/adapt/package_file.hpp"

#include <filesystem>
#include <limits>

#include "support/catch.hpp"
#include "support/folder.hpp"
#include "support/sample.hpp"

using namespace trlm::adapt;

namespace {

std::vector<std::byte> bytes_of(const std::string& path) {
    const auto file = MappedFile::open(path);
    REQUIRE(file);
    return {file->bytes().begin(), file->bytes().end()};
}

/// Values of three tensors, and content of each kind over them.
struct Content {
    std::vector<float> first = sample::values("first", 12 * 8);
    std::vector<float> second = sample::values("second", 8);
    std::vector<float> a = sample::values("a", 2 * 8);
    std::vector<float> b = sample::values("b", 12 * 2);
    std::vector<std::uint32_t> few = {0, 7, 95};
    std::vector<std::uint32_t> many;
    Identity identity{0, 12, 1000, 5, 6};

    Content() {
        for (std::uint32_t i = 0; i < 96; i += 2)
            many.push_back(i);
    }

    [[nodiscard]] PackageContent of(PackageKind kind) const {
        const Shape matrix{2, {12, 8, 1, 1}};
        const Shape vector{1, {8, 1, 1, 1}};
        PackageContent content;
        content.kind = kind;
        content.identity = identity;
        content.metadata = R"({"name":"sample"})";
        switch (kind) {
            case PackageKind::dense:
                content.entries = {{3, matrix, DenseContent{first}},
                                   {9, vector, DenseContent{second}}};
                break;
            case PackageKind::sparse:
                content.mask_method = MaskMethod::random_drop;
                content.mask_seed = 17;
                content.entries = {
                    {3, matrix, SparseContent{few, std::span(first).first(few.size())}},
                    {9, matrix, SparseContent{many, std::span(first).first(many.size())}}};
                break;
            case PackageKind::low_rank:
                content.source_kind = SourceKind::svd;
                content.source_hash[3] = std::byte{8};
                content.entries = {{3, matrix, LowRankContent{2, 0.5F, a, b}},
                                   {9, matrix, LowRankContent{2, -2, a, b}}};
                break;
        }
        return content;
    }
};

PackageHead head_of(const PackageContent& content) {
    return {.kind = content.kind,
            .identity = content.identity,
            .entry_count = content.entries.size(),
            .metadata = content.metadata,
            .mask_method = content.mask_method,
            .mask_seed = content.mask_seed,
            .source_kind = content.source_kind,
            .source_hash = content.source_hash};
}

}  // namespace

TEST_CASE("A package written entry by entry has the bytes of write_package", "[package_file]") {
    const Content content;
    for (const PackageKind kind :
         {PackageKind::dense, PackageKind::sparse, PackageKind::low_rank}) {
        for (const bool with_metadata : {true, false}) {
            const Folder folder;
            PackageContent whole = content.of(kind);
            if (!with_metadata) whole.metadata.clear();
            auto file = PackageFile::create(folder.path("p"), head_of(whole));
            REQUIRE(file);
            for (const EntryContent& entry : whole.entries)
                REQUIRE(file->add(entry));
            const auto written = file->finish();
            REQUIRE(written);
            const auto mapped = file->map();
            REQUIRE(mapped);
            const auto expected = write_package(whole);
            REQUIRE(expected);
            CHECK(std::ranges::equal(mapped->bytes(), *expected));
            CHECK_FALSE(std::filesystem::exists(folder.path("p")));
            REQUIRE(file->commit(false));
            CHECK(bytes_of(folder.path("p")) == *expected);
            CHECK(folder.names().size() == 1);
            CHECK(written->bytes == expected->size());
            CHECK(written->digest == sha256(*expected));
            const auto package = read_package(*expected);
            REQUIRE(package);
            CHECK(written->checksum == package->checksum());
        }
    }
}

TEST_CASE("An unfinished package leaves nothing", "[package_file]") {
    const Folder folder;
    const Content content;
    {
        auto file = PackageFile::create(folder.path("p"), head_of(content.of(PackageKind::dense)));
        REQUIRE(file);
        REQUIRE(file->add(content.of(PackageKind::dense).entries[0]));
        CHECK(folder.names().size() == 1);
        const auto finished = file->finish();
        REQUIRE_FALSE(finished);
        CHECK(finished.error()[0].code == FindingCode::count_mismatch);
    }
    CHECK(folder.names().size() == 0);
}

TEST_CASE("What a package cannot hold is refused when it is added", "[package_file]") {
    const Folder folder;
    const Content content;
    const auto refused = [&](PackageContent whole, std::vector<EntryContent> added) {
        auto file = PackageFile::create(folder.path("p"), head_of(whole));
        REQUIRE(file);
        for (std::size_t i = 0; i + 1 < added.size(); ++i)
            REQUIRE(file->add(added[i]));
        const Status last = file->add(added.back());
        REQUIRE_FALSE(last);
        return last.error()[0].code;
    };
    const PackageContent dense = content.of(PackageKind::dense);
    const PackageContent sparse = content.of(PackageKind::sparse);
    const PackageContent low_rank = content.of(PackageKind::low_rank);
    CHECK(refused(dense, {dense.entries[1], dense.entries[0]}) ==
          FindingCode::directory_not_sorted);
    CHECK(refused(dense, {dense.entries[0], dense.entries[0]}) ==
          FindingCode::directory_not_sorted);
    EntryContent third = dense.entries[1];
    third.name_hash = 10;
    CHECK(refused(dense, {dense.entries[0], dense.entries[1], third}) ==
          FindingCode::count_mismatch);
    CHECK(refused(dense, {sparse.entries[0]}) == FindingCode::bad_value);

    EntryContent entry = dense.entries[0];
    entry.delta = DenseContent{content.second};
    CHECK(refused(dense, {entry}) == FindingCode::length_mismatch);
    std::vector<float> broken = content.first;
    broken[40] = std::numeric_limits<float>::quiet_NaN();
    entry.delta = DenseContent{broken};
    CHECK(refused(dense, {entry}) == FindingCode::non_finite);

    entry = low_rank.entries[0];
    entry.delta = LowRankContent{2, 0, content.a, content.b};
    CHECK(refused(low_rank, {entry}) == FindingCode::bad_low_rank);
    const std::vector<float> zeros(3);
    entry = sparse.entries[0];
    entry.delta = SparseContent{content.few, zeros};
    CHECK(refused(sparse, {entry}) == FindingCode::bad_value);
    CHECK(folder.names().size() == 0);
}

TEST_CASE("A package has 1 to 65,536 entries, and good metadata", "[package_file]") {
    const Folder folder;
    PackageHead head;
    auto none = PackageFile::create(folder.path("p"), head);
    REQUIRE_FALSE(none);
    CHECK(none.error()[0].code == FindingCode::bad_value);
    head.entry_count = 65'537;
    auto many = PackageFile::create(folder.path("p"), head);
    REQUIRE_FALSE(many);
    CHECK(many.error()[0].code == FindingCode::limit_exceeded);

    const Content content;
    PackageContent whole = content.of(PackageKind::dense);
    whole.metadata = "{";
    auto file = PackageFile::create(folder.path("p"), head_of(whole));
    REQUIRE(file);
    for (const EntryContent& entry : whole.entries)
        REQUIRE(file->add(entry));
    const auto finished = file->finish();
    REQUIRE_FALSE(finished);
    CHECK(finished.error()[0].code == FindingCode::bad_metadata);
}

TEST_CASE("Finishing a package can be cancelled", "[package_file]") {
    const Folder folder;
    const Content content;
    const PackageContent whole = content.of(PackageKind::dense);
    auto file = PackageFile::create(folder.path("p"), head_of(whole));
    REQUIRE(file);
    for (const EntryContent& entry : whole.entries)
        REQUIRE(file->add(entry));
    const auto finished = file->finish([](std::uint64_t, std::uint64_t) { return false; });
    REQUIRE_FALSE(finished);
    CHECK(finished.error()[0].code == FindingCode::output_failed);
}
