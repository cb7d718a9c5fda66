#include "trlm/adapt/chain.hpp"

#include "support/catch.hpp"
#include "support/folder.hpp"
#include "support/project_file.hpp"
#include "support/sample.hpp"
#include "trlm/adapt/bundle.hpp"
#include "trlm/adapt/file.hpp"

using namespace trlm::adapt;

// What every field and every file of a bundle does to the gates is tested in tests/documents, with
// a bundle that was made from the specification. Here the chain is fed by hand.

namespace {

std::string example(const std::string& name) {
    return project_file("examples/data/" + name);
}

/// The example bundle, made once, and its files in memory.
class ExampleBundle {
public:
    static const ExampleBundle& get() {
        static const ExampleBundle bundle;
        return bundle;
    }
    [[nodiscard]] const std::map<std::string, Bytes>& files() const { return bytes_; }
    [[nodiscard]] Digest registry_digest() const { return registry_digest_; }

private:
    ExampleBundle() {
        const Folder folder;
        const auto file = MappedFile::open(example("whale.recipe.json"));
        REQUIRE(file);
        const auto recipe = read_recipe(as_text(file->bytes()));
        REQUIRE(recipe);
        const auto report = create_bundle(*recipe, example(""), folder.path("bundle"));
        REQUIRE(report);
        registry_digest_ = report->registry_digest;
        for (const std::string& path : report->files) {
            const auto content = MappedFile::open(folder.path("bundle/" + path));
            REQUIRE(content);
            contents_[path].assign(content->bytes().begin(), content->bytes().end());
            bytes_[path] = contents_[path];
        }
    }
    std::map<std::string, std::vector<std::byte>> contents_;
    std::map<std::string, Bytes> bytes_;
    Digest registry_digest_;
};

/// Feeds the wanted file in pieces of `piece` bytes.
void feed(Chain& chain, const std::map<std::string, Bytes>& files, std::size_t piece) {
    const Bytes content = files.at(chain.wanted()->path);
    if (!chain.open(content.size())) return;
    for (std::size_t at = 0; at < content.size(); at += piece)
        REQUIRE(chain.feed(content.subspan(at, std::min(piece, content.size() - at))));
    chain.close();
}

std::size_t count(const ChainReport& report, GateStatus status) {
    return static_cast<std::size_t>(std::count(report.gates.begin(), report.gates.end(), status));
}

}  // namespace

TEST_CASE("a chain that is fed by hand asks for one file after the other, in gate order") {
    const auto& files = ExampleBundle::get().files();
    const std::size_t piece = GENERATE(as<std::size_t>(), 1000, 65536, 100000000);
    Chain chain({.registry_digest = ExampleBundle::get().registry_digest()});
    Gate last = Gate::registry;
    std::vector<std::string> wanted;
    while (chain.wanted() != nullptr) {
        CHECK(chain.wanted()->gate >= last);
        last = chain.wanted()->gate;
        wanted.push_back(chain.wanted()->path);
        if (wanted.size() > 1) CHECK(chain.wanted()->bytes == files.at(wanted.back()).size());
        feed(chain, files, piece);
    }
    CHECK(count(chain.report(), GateStatus::passed) == gate_count);
    CHECK(chain.report().opened == wanted);
    CHECK(wanted.size() == files.size());
    CHECK(chain.report().findings.empty());
}

TEST_CASE("a host that can list files learns which of them nothing leads to") {
    const auto& files = ExampleBundle::get().files();
    const bool strict = GENERATE(false, true);
    Chain chain({.strict = strict});
    std::vector<std::string> names{"z", "a/b", "z"};
    CHECK_FALSE(chain.can_judge_list());
    chain.list(names);  // too early: nothing is known yet
    while (chain.wanted() != nullptr)
        feed(chain, files, 100'000);
    CHECK(chain.report().findings.empty());
    for (const auto& [path, bytes] : files)
        names.push_back(path);
    REQUIRE(chain.can_judge_list());
    chain.list(names);
    CHECK(chain.wanted() == nullptr);  // there is no other entry
    const Findings& findings = chain.report().findings;
    REQUIRE(findings.size() == 2);
    for (const Finding& finding : findings) {
        CHECK(finding.code == FindingCode::unlisted_file);
        CHECK(finding.severity == (strict ? Severity::error : Severity::warning));
    }
    CHECK(findings[0].file == "a/b");
    CHECK(findings[1].file == "z");
    CHECK(count(chain.report(), GateStatus::passed) == gate_count);
    CHECK_FALSE(chain.can_judge_list());
    chain.list({"y"});  // once
    CHECK(chain.report().findings.size() == 2);
}

TEST_CASE("whole or in steps, from memory or a folder, the report is the same") {
    Source source = Source::memory(ExampleBundle::get().files());
    const ChainReport one = verify(source);
    CHECK(count(one, GateStatus::passed) == gate_count);
    Source again = Source::memory(ExampleBundle::get().files());
    const ChainReport two = verify(again, {.executor = make_executor(3)});
    CHECK(one.opened == two.opened);
    CHECK(one.state == two.state);
}

TEST_CASE("a sender that does not keep to the plan is cut off at that byte") {
    const auto& files = ExampleBundle::get().files();
    Chain chain;
    while (chain.wanted()->gate != Gate::model_bytes)
        feed(chain, files, 100'000);
    const std::string path = chain.wanted()->path;
    const Bytes model = files.at(path);
    REQUIRE(chain.open(model.size()));
    REQUIRE(chain.feed(model));
    CHECK(chain.room().empty());
    CHECK_FALSE(chain.feed(model.first(1)));
    CHECK(chain.wanted()->gate == Gate::assembly_receipt);
    CHECK(chain.report().status(Gate::model_bytes) == GateStatus::failed);
    CHECK(chain.report().status(Gate::model_manifest) == GateStatus::blocked);
    CHECK_FALSE(chain.feed(model.first(1)));  // nothing is open
    CHECK(chain.report().findings[0].code == FindingCode::size_mismatch);
    CHECK(chain.report().findings[0].file == path);
}

TEST_CASE("a file of the wrong size is not taken, and one that ends early is found") {
    const auto& files = ExampleBundle::get().files();
    Chain chain;
    feed(chain, files, 100'000);
    const Bytes plan = files.at(chain.wanted()->path);
    SECTION("another size") {
        CHECK_FALSE(chain.open(plan.size() + 1));
    }
    SECTION("an early end") {
        REQUIRE(chain.open(plan.size()));
        REQUIRE(chain.feed(plan.first(plan.size() - 1)));
        chain.close();
    }
    SECTION("a file that cannot be had") {
        Findings why;
        why.add({.code = FindingCode::file_missing, .message = "404"});
        chain.refuse(why);
        CHECK(chain.report().findings[0].code == FindingCode::file_missing);
    }
    CHECK(chain.wanted() == nullptr);
    CHECK(chain.report().status(Gate::module_plan) == GateStatus::failed);
    CHECK(count(chain.report(), GateStatus::blocked) == gate_count - 2);
    CHECK_FALSE(chain.can_judge_list());
    chain.list({"a"});
    CHECK(chain.report().findings.size() == 1);
    chain.close();  // no harm, nothing is open
    chain.refuse({});
    CHECK_FALSE(chain.open(1));
}

TEST_CASE("a host may place the bytes itself") {
    const auto& files = ExampleBundle::get().files();
    Chain chain;
    while (chain.wanted() != nullptr) {
        const Bytes content = files.at(chain.wanted()->path);
        REQUIRE(chain.open(content.size()));
        REQUIRE(chain.room().size() == content.size());
        std::copy(content.begin(), content.end(), chain.room().begin());
        REQUIRE(chain.feed(chain.room()));
        chain.close();
    }
    CHECK(count(chain.report(), GateStatus::passed) == gate_count);
}

TEST_CASE("an executor that drops tasks or throws is a finding, not a verdict") {
    Source source = Source::memory(ExampleBundle::get().files());
    Executor executor;
    executor.concurrency = 2;
    SECTION("drops") {
        executor.parallel_for = [](std::size_t, const std::function<void(std::size_t)>&) {};
    }
    SECTION("throws") {
        executor.parallel_for = [](std::size_t, const std::function<void(std::size_t)>&) {
            throw 1;
        };
    }
    const ChainReport report = verify(source, {.executor = executor});
    CHECK(report.findings.contains(FindingCode::executor_failed));
    CHECK(report.status(Gate::evidence) == GateStatus::failed);  // the first with several files
    CHECK(count(report, GateStatus::passed) < gate_count);
}

TEST_CASE("a verification that is cancelled says so") {
    Source source = Source::memory(ExampleBundle::get().files());
    const ChainReport report =
        verify(source, {.progress = [](std::uint64_t, std::uint64_t) { return false; }});
    CHECK(report.findings.contains(FindingCode::output_failed));
    CHECK(report.status(Gate::registry) == GateStatus::failed);
}

TEST_CASE("a chain that hashes on the way finds the same and tells each file's digest") {
    std::map<std::string, Bytes> files = ExampleBundle::get().files();
    const std::size_t piece = GENERATE(as<std::size_t>(), 1000, 100000000);
    Chain chain({.hash_on_the_way = true});
    CHECK_FALSE(chain.closed_digest().has_value());
    while (chain.wanted() != nullptr) {
        const Bytes content = files.at(chain.wanted()->path);
        feed(chain, files, piece);
        CHECK(chain.closed_digest() == sha256(content));
    }
    CHECK(count(chain.report(), GateStatus::passed) == gate_count);

    Chain strict({.hash_on_the_way = true});
    std::vector<std::byte> changed;
    while (strict.wanted() != nullptr) {
        const bool model = strict.wanted()->gate == Gate::model_bytes;
        const std::string path = strict.wanted()->path;
        if (model) {
            changed.assign(files.at(path).begin(), files.at(path).end());
            changed[changed.size() / 2] ^= std::byte{1};
            files[path] = changed;
        }
        feed(strict, files, piece);
        if (model) CHECK(strict.closed_digest() == sha256(changed));
    }
    CHECK(strict.report().status(Gate::model_bytes) == GateStatus::failed);
    CHECK(strict.report().findings[0].code == FindingCode::digest_mismatch);
}

TEST_CASE("each gate's findings are told apart, and nothing is verified before all have passed") {
    const auto& files = ExampleBundle::get().files();
    Chain chain;
    while (chain.wanted() != nullptr) {
        CHECK_FALSE(chain.verified().has_value());
        const bool manifest = chain.wanted()->gate == Gate::model_manifest;
        if (!manifest) {
            feed(chain, files, 1'000'000);
            continue;
        }
        Findings why;
        why.add({.code = FindingCode::file_missing, .message = "it is not there"});
        chain.refuse(std::move(why));
    }
    const ChainReport& report = chain.report();
    CHECK(report.status(Gate::model_manifest) == GateStatus::failed);
    for (std::size_t i = 0; i < gate_count; ++i) {
        CAPTURE(i);
        CHECK(report.findings_until[i] ==
              (i < static_cast<std::size_t>(Gate::model_manifest) ? 0 : 1));
    }
    CHECK_FALSE(chain.verified().has_value());
}

TEST_CASE("what a chain verified can be applied") {
    const auto& files = ExampleBundle::get().files();
    Chain chain;
    std::string model;
    while (chain.wanted() != nullptr) {
        if (chain.wanted()->gate == Gate::model_bytes) model = chain.wanted()->path;
        feed(chain, files, 1'000'000);
    }
    const auto verified = chain.verified();
    REQUIRE(verified);
    REQUIRE(verified->model != nullptr);
    const Bytes bytes = verified->model->bytes();
    CHECK(std::equal(bytes.begin(), bytes.end(), files.at(model).begin(), files.at(model).end()));
    REQUIRE(verified->plan != nullptr);
    CHECK(verified->plan->state == chain.report().state);
}

TEST_CASE("a chain gives out the files that it verified, and no others") {
    std::map<std::string, Bytes> files = ExampleBundle::get().files();
    std::vector<std::byte> changed;
    std::string model;
    Chain chain;
    while (chain.wanted() != nullptr) {
        const std::string path = chain.wanted()->path;
        CHECK_FALSE(chain.file(path).has_value());
        if (chain.wanted()->gate == Gate::model_bytes) {
            model = path;
            changed.assign(files.at(path).begin(), files.at(path).end());
            changed.back() ^= std::byte{1};
            files[path] = changed;
        }
        feed(chain, files, 1'000'000);
    }
    const std::vector<std::string>& opened = chain.report().opened;
    for (const auto& [path, content] : files) {
        CAPTURE(path);
        const bool was_opened = std::find(opened.begin(), opened.end(), path) != opened.end();
        const auto file = chain.file(path);
        REQUIRE(file.has_value() == (was_opened && path != model));
        if (file) CHECK(std::equal(file->begin(), file->end(), content.begin(), content.end()));
    }
    CHECK_FALSE(chain.file("").has_value());
    CHECK_FALSE(chain.file("../" + model).has_value());
}
