#include "trlm/adapt/core.hpp"

#include <algorithm>
#include <random>

#include "support/catch.hpp"
#include "support/package_bytes.hpp"
#include "support/sample.hpp"

using namespace trlm::adapt;

namespace {

std::vector<std::vector<std::byte>> sample_packages() {
    return {sample::dense_package({"norm.weight", "layers.0.w2.weight"}),
            sample::sparse_package("output.weight", 97),       // index list
            sample::sparse_package("layers.0.w1.weight", 20),  // bitmask
            sample::low_rank_package("layers.0.w2.weight")};
}

/// The core's verdict is the first of what the reader finds.
void compare(const std::vector<std::byte>& file) {
    core::PackageView view;
    const core::Outcome opened = core::PackageView::open(file, view);
    const auto package = read_package(file);
    REQUIRE(opened.ok == package.has_value());
    if (package) {
        REQUIRE(view.kind() == package->kind());
        REQUIRE(view.identity() == package->identity());
        REQUIRE(view.checksum() == package->checksum());
        REQUIRE(view.entry_count() == package->entries().size());
        for (std::uint32_t i = 0; i < view.entry_count(); ++i) {
            REQUIRE(view.entry(i).name_hash == package->entries()[i].name_hash);
            REQUIRE(view.entry(i).shape == package->entries()[i].shape);
        }
        return;
    }
    INFO("the core says " << finding_info(opened.code).name << ", the reader "
                          << finding_info(package.error()[0].code).name);
    REQUIRE(package.error().contains(opened.code));
}

}  // namespace

TEST_CASE("the core opens what the reader reads") {
    for (const auto& file : sample_packages())
        compare(file);
}

TEST_CASE("the core and the reader find the same fault in packages that were changed") {
    std::mt19937 random(11);
    for (const auto& original : sample_packages()) {
        // Cut anywhere in the head, and here and there behind it.
        for (std::size_t size = 0; size < original.size(); size += size < 400 ? 1 : 97)
            compare({original.begin(), original.begin() + static_cast<std::ptrdiff_t>(size)});
        for (int i = 0; i < 4000; ++i) {
            package_bytes::File file{original};
            const bool in_head = random() % 4 != 0;
            const std::size_t limit =
                in_head ? std::min<std::size_t>(320, original.size()) : original.size();
            for (unsigned changes = 1 + random() % 2; changes > 0; --changes) {
                const std::size_t at = random() % limit;
                static constexpr unsigned values[] = {0, 1, 2, 3, 4, 0x7f, 0x80, 0xff};
                file.bytes[at] = static_cast<std::byte>(values[random() % 8]);
            }
            if (random() % 2 == 0) file.seal_payload(0);
            if (random() % 4 != 0) file.seal();
            compare(file.bytes);
        }
    }
}

TEST_CASE("the core applies what the library applies") {
    for (const Dtype dtype : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
        const auto file = sample::model(dtype);
        const auto model = read_model(file);
        REQUIRE(model);
        const auto packages = sample_packages();
        std::vector<Package> read;
        std::vector<core::PackageView> views(packages.size());
        for (std::size_t i = 0; i < packages.size(); ++i) {
            auto package = read_package(packages[i]);
            REQUIRE(package);
            read.push_back(std::move(*package));
            REQUIRE(core::PackageView::open(packages[i], views[i]).ok);
        }
        std::vector<std::byte> memory(model->bytes().begin(), model->bytes().end());
        auto described = memory_tensors(*model, memory);
        REQUIRE(described);
        std::vector<MemoryTensor>& tensors = *described;
        for (MemoryTensor& tensor : tensors)
            tensor.max_abs.reset();  // the pass that looks for overflow is not spared
        const MemoryModel engine{model->identity(), tensors};
        core::Application application(engine);
        for (const std::vector<std::size_t>& chosen :
             {std::vector<std::size_t>{0, 1, 2, 3}, {3, 0}, {1}, {2, 3, 3}}) {
            Stack stack;
            std::vector<core::Member> members;
            for (const std::size_t i : chosen) {
                stack.push_back({&read[i], 0.5F, {}});
                members.push_back({&views[i], 0.5F});
            }
            const auto plan = plan_apply(*model, stack);
            REQUIRE(plan);
            std::vector<std::byte> expected;
            ApplyOptions options;
            options.allow_no_effect = true;
            REQUIRE(apply_to_memory(*plan, expected, options));
            core::Options core_options;
            core_options.allow_no_effect = true;
            REQUIRE(application.apply(members, core_options).ok);
            store<std::uint64_t>(expected, slm1_checksum_offset, 0);
            std::vector<std::byte> got = memory;
            store<std::uint64_t>(got, slm1_checksum_offset, 0);
            CHECK(got == expected);
            CHECK(application.state() == assembly_state(*model, stack));
        }
        REQUIRE(application.undo().ok);
        CHECK(std::ranges::equal(memory, model->bytes()));
        CHECK(application.undo().code == FindingCode::undo_stale);
        // What does not fit is refused: a code, and whose fault it is.
        core::Member wrong{&views[0], 0.0F};
        CHECK(application.apply({&wrong, 1}).code == FindingCode::usage_error);
        CHECK(application.apply({}).code == FindingCode::usage_error);
        MemoryModel liar = engine;
        ++liar.identity.parameter_count;
        core::Application lying(liar);
        wrong.strength = 1.0F;
        CHECK(lying.apply({&wrong, 1}).code == FindingCode::bad_view);
        // A write that fails is put back; one after which nothing can be written says so.
        std::vector<MemoryTensor> accessed = tensors;
        for (MemoryTensor& tensor : accessed) {
            tensor.payload = {};
            tensor.scales = {};
        }
        MemoryModel remote{model->identity(), accessed};
        remote.access.read = [&](const RowRange& rows, MutableBytes payload, MutableBytes scales) {
            const MemoryTensor& there = tensors[rows.tensor];
            const auto copy_rows = [&](MutableBytes all, MutableBytes to) {
                const std::uint64_t row = all.size() / there.shape.rows();
                std::ranges::copy(all.subspan(row * rows.first_row, to.size()), to.begin());
            };
            copy_rows(there.payload, payload);
            copy_rows(there.scales, scales);
            return true;
        };
        int writes = 0;
        remote.access.write = [&](const RowRange&, Bytes, Bytes) { return writes++ > 0; };
        core::Application at_a_distance(remote);
        core::Outcome failed = at_a_distance.apply({&wrong, 1});
        CHECK(failed.code == FindingCode::output_failed);
        CHECK(!failed.torn);
        CHECK(writes > 1);
        remote.access.write = [](const RowRange&, Bytes, Bytes) { return false; };
        failed = at_a_distance.apply({&wrong, 1});
        CHECK(failed.code == FindingCode::output_failed);
        CHECK(failed.torn);
        tensors[1].payload = tensors[1].payload.first(3);
        const core::Outcome bad_view = core::Application(engine).apply({&wrong, 1});
        CHECK(bad_view.code == FindingCode::bad_view);
        CHECK(bad_view.item == 1);
    }
}
