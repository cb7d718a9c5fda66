#include "trlm/adapt/receipt/apply_receipt.hpp"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/folder.hpp"
#include "trlm/adapt/receipt/adapter_manifest.hpp"
#include "trlm/adapt/version.hpp"

using namespace trlm::adapt;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

FileRef file_ref(const std::string& path, std::uint64_t bytes) {
    return {.path = path, .bytes = bytes, .digest = sha256(as_bytes(path))};
}

ApplyReceipt sample() {
    TensorSurvival changed;
    changed.name = "norm.weight";
    changed.elements = 4;
    changed.touched = 3;
    changed.changed = 2;
    changed.max_abs_delta = 0.5;
    changed.intended_effective = 2;
    changed.intended_squared = 4;
    changed.effective_squared = 1;
    changed.error_squared = 3;
    TensorSurvival exact = changed;
    exact.name = "output.weight";
    exact.error_squared = 0;

    ApplyReceipt receipt;
    receipt.rounding = {.mode = RoundingMode::stochastic, .seed = 7};
    receipt.base = file_ref("models/base.slm", 1000);
    receipt.stack = {{.package = file_ref("adapters/a.alr1", 200),
                      .kind = PackageKind::low_rank,
                      .internal_checksum = 0x1234,
                      .strength = 0.1F},
                     {.package = file_ref("b.adp1", 300),
                      .kind = PackageKind::dense,
                      .internal_checksum = 0xfedcba9876543210,
                      .strength = -2}};
    receipt.state = 0xab;
    receipt.output = file_ref("out.slm", 1000);
    receipt.tensors = {record(changed), record(exact)};
    return receipt;
}

std::vector<std::string> keys(const Json& object) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : object.items())
        keys.push_back(key);
    return keys;
}

/// The text of the strength in a receipt whose only package has this one.
std::string printed_strength(float strength) {
    ApplyReceipt receipt = sample();
    receipt.stack.resize(1);
    receipt.stack[0].strength = strength;
    const std::string text = write_apply_receipt(receipt);
    const std::string key = "\"strength\": ";
    const std::size_t start = text.find(key) + key.size();
    return text.substr(start, text.find('\n', start) - start);
}

/// A folder that is the working folder meanwhile.
class WorkingFolder {
public:
    WorkingFolder() : before_(fs::current_path()) { fs::current_path(folder_.path()); }
    ~WorkingFolder() {
        std::error_code ignored;
        fs::current_path(before_, ignored);
    }
    WorkingFolder(const WorkingFolder&) = delete;
    WorkingFolder& operator=(const WorkingFolder&) = delete;
    [[nodiscard]] std::string path() const { return fs::canonical(folder_.path()).string(); }

private:
    fs::path before_;
    Folder folder_;
};

std::string path_in_receipt(const std::string& folder, const std::string& file) {
    const auto path = receipt_path(folder, file);
    return path ? *path : "refused";
}

}  // namespace

TEST_CASE("an apply receipt has the fields of its schema in their order") {
    const std::string text = write_apply_receipt(sample());
    const Json json = Json::parse(text);
    CHECK(keys(json) == std::vector<std::string>{"schema", "tool", "arithmetic", "rounding",
                                                 "output_dtype", "base", "stack", "state", "output",
                                                 "tensors"});
    CHECK(json["schema"] == "trlm/apply-receipt@1");
    CHECK(json["tool"] == "trlm-adapt " + std::string(version));
    CHECK(json["arithmetic"] == "trlm-f32-unfused@1");
    CHECK(json["rounding"] == "stochastic:7");
    CHECK(json["output_dtype"] == "keep");
    CHECK(json["state"] == "xxh3-64:00000000000000ab");
    CHECK(keys(json["base"]) == std::vector<std::string>{"path", "bytes", "digest"});
    CHECK(json["base"]["path"] == "models/base.slm");
    CHECK(json["base"]["bytes"] == 1000);
    CHECK(json["base"]["digest"] == to_string(sha256(as_bytes("models/base.slm"))));
    CHECK(json["output"]["path"] == "out.slm");

    REQUIRE(json["stack"].size() == 2);
    const Json& first = json["stack"][0];
    CHECK(keys(first) ==
          std::vector<std::string>{"package", "format", "internal_checksum", "strength"});
    CHECK(first["package"]["path"] == "adapters/a.alr1");
    CHECK(first["format"] == "ALR1");
    CHECK(first["internal_checksum"] == "xxh3-64:0000000000001234");
    CHECK(json["stack"][1]["format"] == "ADP1");
    CHECK(json["stack"][1]["internal_checksum"] == "xxh3-64:fedcba9876543210");
    CHECK(json["stack"][1]["strength"] == -2);
}

TEST_CASE("an apply receipt holds the survival of each tensor") {
    const Json json = Json::parse(write_apply_receipt(sample()));
    REQUIRE(json["tensors"].size() == 2);
    const Json& tensor = json["tensors"][0];
    CHECK(keys(tensor) == std::vector<std::string>{"name", "elements", "touched", "changed", "kept",
                                                   "cosine", "snr_db", "max_abs_delta",
                                                   "rms_delta"});
    CHECK(tensor["name"] == "norm.weight");
    CHECK(tensor["elements"] == 4);
    CHECK(tensor["touched"] == 3);
    CHECK(tensor["changed"] == 2);
    CHECK(tensor["kept"] == 0.5);
    CHECK(tensor["cosine"] == 1.0);
    CHECK(tensor["snr_db"] == 1.249);  // 10 log10(4 / 3) = 1.24938...
    CHECK(tensor["max_abs_delta"] == 0.5);
    CHECK(tensor["rms_delta"] == 1.0);
    CHECK(json["tensors"][1]["snr_db"].is_null());
}

TEST_CASE("the same receipt gives the same bytes, indented, with a newline at the end") {
    const std::string text = write_apply_receipt(sample());
    CHECK(text == write_apply_receipt(sample()));
    CHECK(text.starts_with("{\n  \"schema\": \"trlm/apply-receipt@1\",\n"));
    CHECK(text.ends_with("\n}\n"));
}

TEST_CASE("strengths are printed with as few digits as read back to the same f32") {
    CHECK(printed_strength(1) == "1.0");
    CHECK(printed_strength(0.1F) == "0.1");
    CHECK(printed_strength(-0.3F) == "-0.3");
    CHECK(printed_strength(1.0F / 3) == "0.33333334");
    for (const float strength :
         {0.1F, 1.0F / 3, 16777217.0F, 1e-45F, std::numeric_limits<float>::max(),
          std::numeric_limits<float>::min(), std::nextafter(1.0F, 2.0F), -7.0385307e-26F}) {
        const double read = std::strtod(printed_strength(strength).c_str(), nullptr);
        CHECK(static_cast<float>(read) == strength);
    }
}

TEST_CASE("a strength is read as what it rounds to as f32") {
    const std::string text = write_apply_receipt(sample());
    const std::string own = "\"strength\": -2.0";
    REQUIRE(text.find(own) != std::string::npos);
    const auto read = [&](const std::string& number) {
        std::string other = text;
        return read_apply_receipt(
            other.replace(other.find(own), own.size(), "\"strength\": " + number));
    };
    // Below 2^128 - 2^103, halfway to 2^128, a number rounds to the largest f32.
    const auto largest = read("3.4028235677973362e38");
    REQUIRE(largest);
    CHECK(largest->stack[1].strength == std::numeric_limits<float>::max());
    CHECK(read("1e-45")->stack[1].strength == std::numeric_limits<float>::denorm_min());
    for (const char* number : {"3.4028235677973366e38", "7.006492321624085e-46", "-0.0", "1e39"}) {
        CAPTURE(number);
        REQUIRE_FALSE(read(number));
        CHECK(read(number).error()[0].code == FindingCode::bad_value);
    }
}

TEST_CASE("a receipt of 64 packages is read, one of 65 is past a limit") {
    ApplyReceipt receipt = sample();
    receipt.stack.resize(64, receipt.stack[0]);
    CHECK(read_apply_receipt(write_apply_receipt(receipt)));
    receipt.stack.push_back(receipt.stack[0]);
    const auto read = read_apply_receipt(write_apply_receipt(receipt));
    REQUIRE_FALSE(read);
    REQUIRE(read.error().size() == 1);
    CHECK(read.error()[0].code == FindingCode::limit_exceeded);
    CHECK(read.error()[0].pointer == "/stack");
}

TEST_CASE("a list of empty objects is read no further than findings are kept") {
    std::string text = R"({"schema":"trlm/apply-receipt@1","tensors":[{})";
    for (int i = 0; i < 100'000; ++i)
        text += ",{}";
    const auto read = read_apply_receipt(text + "]}");
    REQUIRE_FALSE(read);
    CHECK(read.error().size() == 1000);
    CHECK(read.error().dropped() < 9);  // of the nine keys of one element
    CHECK(read.error().exit_code() == ExitCode::invalid);
}

TEST_CASE("what decides the exit code is looked for when no finding is kept any more") {
    const std::string zeros(64, '0');
    const std::string checksum = "\"xxh3-64:" + zeros.substr(0, 16) + "\"";
    std::string text =
        R"({"schema":"trlm/adapter-manifest@1","package":{"path":"a","bytes":1,"digest":"sha256:)" +
        zeros + R"("},"format":"ADP1","internal_checksum":)" + checksum +
        R"(,"identity":{"model_flags":0,"tensor_count":1,"parameter_count":1,)" +
        R"("tensor_layout_checksum":)" + checksum + R"(,"tokenizer_checksum":)" + checksum +
        R"(},"entry_count":1,"base_models":[)";
    for (int i = 0; i < 1000; ++i)
        text += "\"xxh3-128:" + zeros.substr(0, 32) + "\",";
    const std::string end = R"("],"strength_range":[0,1],"license":null,"source":null})";
    const auto weak = read_adapter_manifest(text + "\"sha256:" + zeros + end);
    REQUIRE_FALSE(weak);
    CHECK(weak.error().size() == 1000);
    CHECK(weak.error().exit_code() == ExitCode::policy);
    const auto wrong = read_adapter_manifest(text + "\"no digest" + end);
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().size() == 1000);
    CHECK(wrong.error().exit_code() == ExitCode::invalid);
}

TEST_CASE("a receipt names files beneath its folder by their way there") {
    const WorkingFolder folder;
    fs::create_directories("receipts/models");
    fs::create_directories("elsewhere");
    std::ofstream("receipts/models/base.slm") << "x";
    fs::create_directory_symlink("../elsewhere", "receipts/link");

    CHECK(path_in_receipt("receipts", "receipts/models/base.slm") == "models/base.slm");
    CHECK(path_in_receipt("receipts/", "./receipts//models/../models/base.slm") ==
          "models/base.slm");
    CHECK(path_in_receipt("receipts/models/..", folder.path() + "/receipts/out.slm") == "out.slm");
    CHECK(path_in_receipt(".", "receipts/models/base.slm") == "receipts/models/base.slm");
    CHECK(path_in_receipt("", "new.slm") == "new.slm");
    CHECK(path_in_receipt("/", "/a.slm") == "a.slm");
    // Not beneath: the name alone.
    CHECK(path_in_receipt("receipts", "elsewhere/a.slm") == "a.slm");
    CHECK(path_in_receipt("receipts", "receipts2/a.slm") == "a.slm");
    CHECK(path_in_receipt("receipts", "a.slm") == "a.slm");
    // Through a link to a folder elsewhere.
    CHECK(path_in_receipt("receipts", "receipts/link/a.slm") == "a.slm");
}

TEST_CASE("a receipt refuses names that it cannot hold") {
    const WorkingFolder folder;
    fs::create_directories("a folder");
    const std::string longest(100, 'n');
    CHECK(path_in_receipt(".", longest) == longest);
    CHECK(path_in_receipt(".", "A-Z_a.z09") == "A-Z_a.z09");
    CHECK(path_in_receipt(".", "a..b") == "a..b");
    for (const std::string& name :
         {longest + "n", std::string("a b"), std::string("caf\u00e9.slm"), std::string("a\nb"),
          std::string("a:b"), std::string("a folder/x.slm"), std::string("."), std::string("..")}) {
        CAPTURE(name);
        const auto path = receipt_path(".", name);
        REQUIRE_FALSE(path);
        CHECK(path.error()[0].code == FindingCode::usage_error);
        CHECK(path.error()[0].file == name);
    }
    // Not beneath the receipt's folder: only the last name counts.
    CHECK(path_in_receipt("a folder", "a folder/x.slm") == "x.slm");

    std::string deep;
    for (int i = 0; i < 3; ++i)
        deep += std::string(84, 'd') + "/";  // 3 * 85 = 255
    CHECK(path_in_receipt(".", deep.substr(0, 255 - 1) + "d") == deep.substr(0, 254) + "d");
    const auto too_long = receipt_path(".", deep + "d");
    REQUIRE_FALSE(too_long);
    CHECK(too_long.error()[0].code == FindingCode::usage_error);
}
