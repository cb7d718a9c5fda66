#include "trlm/adapt/slm1.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/sample.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/limits.hpp"

using namespace trlm::adapt;

namespace {

using File = std::vector<std::byte>;
using Codes = std::set<std::string>;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

// The f32 sample as docs/formats.md lays it out: a header of 128 bytes, BTOK of 28, twelve entries.
constexpr std::uint64_t tokenizer = 128;
constexpr std::uint64_t directory = 192;
constexpr std::uint64_t f32_bytes = 19'968;
constexpr std::size_t tensor_count = 12;

/// A tensor of the f32 sample: its place in the directory and in the file.
struct Placed {
    std::size_t index;
    std::uint64_t offset;
    std::uint64_t length;
};
constexpr Placed tok_embeddings{0, 960, 8320};  // [260, 8]
constexpr Placed attn_norm{1, 9280, 32};        // [8], then 32 bytes of padding
constexpr Placed wq{2, 9344, 256};              // [8, 8]
constexpr Placed w3{9, 11'200, 384};            // [12, 8]
constexpr Placed norm{10, 11'584, 32};          // [8], then 32 bytes of padding
constexpr Placed output{11, 11'648, 8320};      // [260, 8], the last

/// The file offset of a field of a directory entry.
constexpr std::uint64_t field(std::size_t index, std::uint64_t offset) {
    return directory + index * 64 + offset;
}
constexpr std::uint64_t name_hash = 0, dtype = 8, rank = 12, dims = 16, byte_offset = 32,
                        byte_length = 40, scale_offset = 48, block_size = 56, reserved = 60;

Result<Model> read(const File& file, const ModelReadOptions& options = {}) {
    return read_model(file, options);
}

Findings findings_of(const File& file, const ModelReadOptions& options = {}) {
    const auto model = read(file, options);
    REQUIRE_FALSE(model);
    return model.error();
}

Codes codes_of(const Findings& findings) {
    Codes codes;
    for (const Finding& finding : findings) {
        CHECK_FALSE(finding.message.empty());
        codes.emplace(finding_info(finding.code).name);
    }
    return codes;
}

Codes codes(const File& file, const ModelReadOptions& options = {}) {
    const auto model = read(file, options);
    return model ? Codes{} : codes_of(model.error());
}

/// The one finding of a file.
Finding only_finding(const File& file) {
    const Findings findings = findings_of(file);
    REQUIRE(findings.size() == 1);
    return findings[0];
}

/// A sample model to be damaged.
class Edited {
public:
    explicit Edited(Dtype storage = Dtype::f32) : file_(sample::model(storage)) {}
    explicit Edited(File file) : file_(std::move(file)) {}

    template <class T>
    Edited& set(std::uint64_t offset, T value) {
        store(MutableBytes(file_), offset, value);
        return *this;
    }

    /// Inserts zero bytes and moves every offset that is at or past them.
    Edited& insert(std::uint64_t place, std::uint64_t count) {
        file_.insert(file_.begin() + static_cast<std::ptrdiff_t>(place),
                     static_cast<std::size_t>(count), std::byte{0});
        std::uint64_t entries = directory;
        for (const std::uint64_t offset : {64U, 80U, 92U})
            move(offset, place, count);
        if (entries >= place) entries += count;
        for (std::size_t i = 0; i < tensor_count; ++i) {
            move(entries + i * 64 + byte_offset, place, count);
            move(entries + i * 64 + scale_offset, place, count);
        }
        return *this;
    }

    Edited& resize(std::uint64_t size) {
        file_.resize(static_cast<std::size_t>(size));
        return *this;
    }

    [[nodiscard]] const File& unsealed() const { return file_; }
    [[nodiscard]] File sealed() const {
        File file = file_;
        sample::seal(file);
        return file;
    }

private:
    void move(std::uint64_t offset, std::uint64_t place, std::uint64_t count) {
        const auto value = load<std::uint64_t>(file_, offset);
        if (value >= place) set(offset, value + count);
    }

    File file_;
};

/// What a sealed sample is found to be when one field has another value.
template <class T>
Codes with(std::uint64_t offset, T value) {
    return codes(Edited().set(offset, value).sealed());
}

/// A view that can be read up to `readable` bytes; the rest faults.
class GuardedFile {
public:
    GuardedFile(const File& file, std::size_t readable) : size_(file.size()) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t open = (readable + page - 1) / page * page;
        mapped_ = open + (size_ + page - 1) / page * page;
        memory_ =
            mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory_ != MAP_FAILED);
        // The readable bytes end where the guarded pages begin.
        begin_ = static_cast<std::byte*>(memory_) + (open - readable);
        std::memcpy(begin_, file.data(), size_);
        REQUIRE(mprotect(static_cast<std::byte*>(memory_) + open, mapped_ - open, PROT_NONE) == 0);
    }
    GuardedFile(const GuardedFile&) = delete;
    GuardedFile& operator=(const GuardedFile&) = delete;
    ~GuardedFile() { munmap(memory_, mapped_); }

    [[nodiscard]] Bytes bytes() const { return {begin_, size_}; }

private:
    std::size_t size_;
    std::size_t mapped_ = 0;
    void* memory_ = nullptr;
    std::byte* begin_ = nullptr;
};

}  // namespace

// ------------------------------------------------------------------------------- what is well

TEST_CASE("a model is read as it was written") {
    const File file = sample::model(Dtype::f32);
    REQUIRE(file.size() == f32_bytes);
    const auto model = read(file);
    REQUIRE(model);
    CHECK(model->bytes().data() == file.data());
    CHECK(model->shape() == sample::small_shape());
    CHECK(model->flags() == 0);
    CHECK(model->checksum() == load<std::uint64_t>(file, 100));
    CHECK(model->checksum_verifiable());
    CHECK(model->warnings().empty());
    CHECK(model->tokenizer().kind() == TokenizerKind::btok);
    CHECK(model->tokenizer_section().data() == file.data() + tokenizer);
    CHECK(model->tokenizer_section().size() == 28);

    const auto tensors = model->tensors();
    REQUIRE(tensors.size() == tensor_count);
    for (const Placed& placed : {tok_embeddings, attn_norm, wq, w3, norm, output}) {
        CHECK(tensors[placed.index].payload_offset == placed.offset);
        CHECK(tensors[placed.index].payload_length == placed.length);
        CHECK(tensors[placed.index].scale_length == 0);
    }
    CHECK(tensors[0].name == "tok_embeddings.weight");
    CHECK(tensors[0].shape == Shape{2, {260, 8, 1, 1}});
    CHECK(tensors[1].name == "layers.0.attn_norm.weight");
    CHECK(tensors[1].shape == Shape{1, {8, 1, 1, 1}});
    CHECK(tensors[11].name == "output.weight");

    // 2 * 260 * 8 + 3 * 8 + 4 * 8 * 8 + 3 * 12 * 8
    CHECK(model->identity().parameter_count == 4728);
    CHECK(model->identity().tensor_count == 12);
    CHECK(model->identity().model_flags == 0);
    CHECK(model->identity().tokenizer_checksum == 0x765e9d76749c51b6);  // of any BTOK
}

TEST_CASE("tensors are found by the hash of their names") {
    const File file = sample::model(Dtype::f32);
    const auto model = read(file);
    REQUIRE(model);
    for (std::size_t i = 0; i < model->tensors().size(); ++i) {
        CHECK(model->find_tensor(tensor_name_hash(model->tensors()[i].name)) == i);
    }
    CHECK_FALSE(model->find_tensor(tensor_name_hash("layers.1.wq.weight")));
    CHECK_FALSE(model->find_tensor(0));
}

TEST_CASE("views lead to payloads and scales in place") {
    const File file = sample::model(Dtype::q4_0);
    const auto model = read(file);
    REQUIRE(model);
    const auto index = model->find_tensor(tensor_name_hash("layers.0.w2.weight"));
    REQUIRE(index);
    const TensorView view = model->view(*index);  // [8, 12]
    CHECK(view.name == "layers.0.w2.weight");
    CHECK(view.dtype == Dtype::q4_0);
    CHECK(view.block_size == 12);
    CHECK(view.payload.size() == 48);
    CHECK(view.scales.size() == 8 * sizeof(float));
    CHECK(view.payload.data() == file.data() + model->tensors()[*index].payload_offset);
}

TEST_CASE("one identity covers all storages of a model") {
    const File plain = sample::model(Dtype::f32);
    const auto model = read(plain);
    REQUIRE(model);
    for (const Dtype storage : {Dtype::q8_0, Dtype::q4_0}) {
        const File quantized = sample::model(storage);
        const auto other = read(quantized);
        REQUIRE(other);
        CHECK(other->identity() == model->identity());
    }
}

TEST_CASE("the expected tensors are those of the shape, in the order of the format") {
    ModelShape shape = sample::small_shape();
    shape.layer_count = 2;
    shape.kv_head_count = 1;
    const auto tensors = expected_tensors(shape, 0);
    const std::vector<std::pair<std::string, std::string>> wanted{
        {"tok_embeddings.weight", "[260, 8]"}, {"layers.0.attn_norm.weight", "[8]"},
        {"layers.0.wq.weight", "[8, 8]"},      {"layers.0.wk.weight", "[4, 8]"},
        {"layers.0.wv.weight", "[4, 8]"},      {"layers.0.wo.weight", "[8, 8]"},
        {"layers.0.ffn_norm.weight", "[8]"},   {"layers.0.w1.weight", "[12, 8]"},
        {"layers.0.w2.weight", "[8, 12]"},     {"layers.0.w3.weight", "[12, 8]"},
        {"layers.1.attn_norm.weight", "[8]"},  {"layers.1.wq.weight", "[8, 8]"},
        {"layers.1.wk.weight", "[4, 8]"},      {"layers.1.wv.weight", "[4, 8]"},
        {"layers.1.wo.weight", "[8, 8]"},      {"layers.1.ffn_norm.weight", "[8]"},
        {"layers.1.w1.weight", "[12, 8]"},     {"layers.1.w2.weight", "[8, 12]"},
        {"layers.1.w3.weight", "[12, 8]"},     {"norm.weight", "[8]"},
        {"output.weight", "[260, 8]"}};
    REQUIRE(tensors.size() == wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        CHECK(tensors[i].name == wanted[i].first);
        CHECK(to_string(tensors[i].shape) == wanted[i].second);
    }
    CHECK(expected_tensors(shape, model_flag_tied_output).size() == 20);
    CHECK(expected_tensors(shape, model_flag_tied_output).back().name == "norm.weight");
}

TEST_CASE("a shape with more tensors than the limit expects none") {
    ModelShape shape = sample::small_shape();
    shape.layer_count = (limits::tensors - 3) / 9;  // 9 * 7281 + 3 = 65,532
    CHECK(expected_tensors(shape, 0).size() == 65'532);
    shape.layer_count += 1;
    CHECK(expected_tensors(shape, 0).empty());
    shape.layer_count = std::numeric_limits<std::uint32_t>::max();
    CHECK(expected_tensors(shape, 0).empty());
}

TEST_CASE("a dimension of the shape does not wrap") {
    ModelShape shape = sample::small_shape();
    shape.head_count = 1U << 16;
    shape.head_dim = 1U << 16;
    CHECK(expected_tensors(shape, 0)[2].shape == Shape{2, {0xffffffff, 8, 1, 1}});
}

// ---------------------------------------------------------------- magic, version, header_length

TEST_CASE("less than a header is truncated, and nothing else") {
    const File file = sample::model(Dtype::f32);
    for (const std::size_t size : {0U, 1U, 3U, 4U, 100U, 107U}) {
        CHECK(codes(File(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size))) ==
              Codes{"truncated"});
    }
}

TEST_CASE("a wrong magic is the only finding, and says what the file is instead") {
    CHECK(with(0, std::uint32_t{0}) == Codes{"bad_magic"});
    CHECK(codes(File(4)) == Codes{"bad_magic"});
    const Finding adapter =
        only_finding(Edited().set(0, std::array{'A', 'L', 'R', '1'}).unsealed());
    CHECK(adapter.code == FindingCode::bad_magic);
    CHECK(adapter.actual == "ALR1");
    CHECK(adapter.message.find("swapped") != std::string::npos);
}

TEST_CASE("a wrong version is the only finding") {
    CHECK(with(4, std::uint32_t{0}) == Codes{"unsupported_version"});
    CHECK(with(4, std::uint32_t{2}) == Codes{"unsupported_version"});
    CHECK(codes(Edited().set(4, 2U).set(8, 1U).set(12, 9U).unsealed()) ==
          Codes{"unsupported_version"});
}

TEST_CASE("a header_length below 108 or past the file is the only finding") {
    CHECK(with(8, std::uint32_t{107}) == Codes{"bad_header_length"});
    CHECK(with(8, static_cast<std::uint32_t>(f32_bytes) + 1) == Codes{"bad_header_length"});
    CHECK(with(8, std::uint32_t{0xffffffff}) == Codes{"bad_header_length"});
    CHECK(codes(Edited().set(8, 107U).set(12, 9U).unsealed()) == Codes{"bad_header_length"});
    CHECK(codes(Edited().resize(108).unsealed()) == Codes{"bad_header_length"});
}

TEST_CASE("a longer header is read, and all of it past byte 112 is reserved") {
    // The tokenizer moves away from the header that grows to 192 bytes.
    const auto longer = Edited().insert(tokenizer, 64).set(8, 192U);
    CHECK(codes(longer.sealed()).empty());
    CHECK(codes(Edited(longer).set(191, std::uint8_t{1}).sealed()) == Codes{"reserved_not_zero"});
    const Finding finding = only_finding(Edited(longer).set(150, std::uint8_t{7}).sealed());
    CHECK(finding.offset == 150);
    CHECK(finding.actual == "0x07");
}

// ------------------------------------------------------------------------------- header fields

TEST_CASE("header fields keep their rules") {
    constexpr auto largest = std::numeric_limits<std::uint32_t>::max();
    const Codes bad_value{"bad_value"};
    CHECK(with(12, 0U) == bad_value);  // model_type
    CHECK(with(12, 2U) == bad_value);
    CHECK(with(16, 2U) == bad_value);  // flags
    CHECK(with(16, 0x80000000U) == bad_value);
    CHECK(with(20, 259U) == Codes{"bad_value", "tokenizer_malformed"});  // vocab_size
    CHECK(with(24, 3U) == bad_value);                                    // special_token_count
    CHECK(with(24, 4U).empty());
    CHECK(with(24, largest).empty());
    for (std::uint64_t offset = 28; offset <= 52; offset += 4) {
        CAPTURE(offset);
        CHECK(with(offset, 0U) == bad_value);
    }
    CHECK(with(52, 1U).empty());  // max_context
    CHECK(with(52, largest).empty());
    for (const std::uint64_t offset : {56U, 60U}) {  // rope_theta, rms_norm_epsilon
        CAPTURE(offset);
        for (const float value : {0.0F, -0.0F, -1.0F, not_a_number, infinity, -infinity}) {
            CHECK(with(offset, value) == bad_value);
        }
        CHECK(with(offset, std::numeric_limits<float>::denorm_min()).empty());
        CHECK(with(offset, std::numeric_limits<float>::max()).empty());
    }
}

TEST_CASE("a header field's finding has its place and its numbers") {
    const Finding finding = only_finding(Edited().set(24, 3U).sealed());
    CHECK(finding.offset == 24);
    CHECK(finding.actual == "3");
    CHECK(finding.expected == "at least 4");
    CHECK(finding.message.find("special_token_count") != std::string::npos);
    CHECK(finding.tensor.empty());
}

TEST_CASE("kv_head_count divides head_count") {
    CHECK(with(40, 3U) == Codes{"bad_value"});
    CHECK(with(40, 4U) == Codes{"bad_value"});
    CHECK(with(40, 1U) == Codes{"shape_mismatch"});  // of wk and wv
}

TEST_CASE("a tokenizer has the header's vocab_size") {
    CHECK(with(20, 261U) == Codes{"tokenizer_malformed", "shape_mismatch"});
}

TEST_CASE("a damaged tokenizer is a finding at its place in the file") {
    const Finding finding = only_finding(Edited().set(tokenizer + 12, 300U).sealed());
    CHECK(finding.code == FindingCode::tokenizer_malformed);
    CHECK(finding.offset == tokenizer + 12);
    CHECK(with(tokenizer, 0U) == Codes{"tokenizer_malformed"});
    CHECK(with(72, std::uint64_t{24}) == Codes{"tokenizer_malformed", "padding_not_zero"});
    CHECK(with(72, std::uint64_t{0}) == Codes{"tokenizer_malformed", "hole"});
}

TEST_CASE("tensor_count is between 1 and the limit") {
    CHECK(with(88, 0U) == Codes{"bad_value"});
    CHECK(with(88, limits::tensors) == Codes{"range_out_of_file"});
    CHECK(with(88, limits::tensors + 1) == Codes{"limit_exceeded"});
    CHECK(with(88, 0xffffffffU) == Codes{"limit_exceeded"});
}

TEST_CASE("a header's offsets are aligned and inside the file") {
    CHECK(with(80, directory + 4) == Codes{"misaligned"});
    CHECK(with(80, std::uint64_t{1} << 62) == Codes{"range_out_of_file"});
    CHECK(with(80, ~std::uint64_t{63}) == Codes{"range_out_of_file", "size_overflow"});
    CHECK(with(92, std::uint64_t{961}) == Codes{"misaligned"});
    CHECK(with(92, std::uint64_t{64}).empty());
    CHECK(with(92, f32_bytes - 64).empty());
    CHECK(with(92, f32_bytes) == Codes{"range_out_of_file"});
    CHECK(with(64, f32_bytes - 27) == Codes{"range_out_of_file"});
    CHECK(with(64, ~std::uint64_t{0}) == Codes{"range_out_of_file", "size_overflow"});
    CHECK(with(72, ~std::uint64_t{0}) == Codes{"range_out_of_file", "size_overflow"});
}

TEST_CASE("a directory that ends with the file is inside it, one byte more is not") {
    const Edited cut = Edited().resize(directory + tensor_count * 64);
    CHECK(codes(cut.sealed()) == Codes{"range_out_of_file"});  // payloads and tensor_data_offset
    CHECK(findings_of(cut.sealed()).size() == tensor_count + 1);
    CHECK(findings_of(Edited(cut).resize(directory + tensor_count * 64 - 1).sealed()).size() == 2);
}

TEST_CASE("reserved bytes of the header are zero") {
    CHECK(with(112, std::uint8_t{1}) == Codes{"reserved_not_zero"});
    CHECK(with(127, std::uint8_t{0x80}) == Codes{"reserved_not_zero"});
}

// ------------------------------------------------------------------------------ the checksum

TEST_CASE("a change after sealing is a checksum_mismatch, whatever else it is") {
    CHECK(codes(Edited().set(tok_embeddings.offset, 0.5F).unsealed()) ==
          Codes{"checksum_mismatch"});
    CHECK(codes(Edited().set(12, 2U).unsealed()) == Codes{"bad_value", "checksum_mismatch"});
    CHECK(codes(Edited().resize(f32_bytes / 2).unsealed()).contains("checksum_mismatch"));
    CHECK(codes(Edited().resize(128).unsealed()).contains("checksum_mismatch"));
    CHECK(findings_of(Edited().set(52, 1U).unsealed()).exit_code() == ExitCode::drift);
}

TEST_CASE("a checksum_mismatch is reported even among a thousand findings") {
    // layer_count 4 billion: as many tensors are missing as can be reported.
    const Findings findings = findings_of(Edited().set(32, 0xffffffffU).unsealed());
    CHECK(findings.full());
    CHECK(findings[0].code == FindingCode::checksum_mismatch);
    CHECK(findings.contains(FindingCode::missing_tensor));
}

TEST_CASE("a stored checksum of 0 never matches") {
    const Finding finding = only_finding(Edited().set(100, std::uint64_t{0}).unsealed());
    CHECK(finding.code == FindingCode::checksum_mismatch);
    CHECK(finding.offset == 100);
    CHECK(finding.expected == "xxh3-64:0000000000000000");
}

TEST_CASE("a checksum of an unknown kind is refused, or accepted with a warning") {
    for (const File& file : {sample::foreign_model(Dtype::f32), Edited().set(108, 0U).unsealed(),
                             Edited().set(108, 2U).unsealed()}) {
        CHECK(codes(file) == Codes{"checksum_unverifiable"});
        CHECK(codes(file, {.depth = ReadDepth::headers}) == Codes{"checksum_unverifiable"});
        CHECK(findings_of(file).exit_code() == ExitCode::cannot_check);

        const auto accepted = read(file, {.checksum = ChecksumPolicy::accept_foreign});
        REQUIRE(accepted);
        CHECK_FALSE(accepted->checksum_verifiable());
        CHECK(accepted->checksum() == load<std::uint64_t>(file, 100));
        REQUIRE(accepted->warnings().size() == 1);
        CHECK(accepted->warnings()[0].code == FindingCode::checksum_unverifiable);
        CHECK(accepted->warnings()[0].severity == Severity::warning);
    }
}

TEST_CASE("a file whose checksum cannot be verified is judged in every other way") {
    File file = sample::foreign_model(Dtype::f32);
    store(MutableBytes(file), norm.offset, not_a_number);
    store(MutableBytes(file), 12, 2U);
    CHECK(codes(file, {.checksum = ChecksumPolicy::accept_foreign}) ==
          Codes{"bad_value", "checksum_unverifiable", "non_finite"});
}

TEST_CASE("a header between 108 and 127 bytes has no checksum_kind and nothing reserved") {
    for (const std::uint32_t length : {108U, 127U}) {
        const File file = Edited().set(8, length).sealed();
        CHECK(codes(file) == (length == 108 ? Codes{"checksum_unverifiable", "padding_not_zero"}
                                            : Codes{"checksum_unverifiable"}));
    }
    CHECK(codes(Edited().set(8, 127U).set(120, 1U).sealed()) == Codes{"checksum_unverifiable"});
}

// -------------------------------------------------------------------------- directory entries

TEST_CASE("a rank is 1 to 4") {
    CHECK(with(field(wq.index, rank), 0U) == Codes{"bad_rank"});
    CHECK(with(field(wq.index, rank), 5U) == Codes{"bad_rank"});
    CHECK(with(field(wq.index, rank), 0xffffffffU) == Codes{"bad_rank"});
    CHECK(with(field(wq.index, rank), 4U) == Codes{"shape_mismatch"});
    CHECK(with(field(wq.index, rank), 1U) ==
          Codes{"bad_dim"});  // the second dimension, 8, is unused now
}

TEST_CASE("an entry's finding has its place, its tensor and its numbers") {
    const Finding finding = only_finding(Edited().set(field(wq.index, rank), 5U).sealed());
    CHECK(finding.offset == field(wq.index, rank));
    CHECK(finding.tensor == "layers.0.wq.weight");
    CHECK(finding.actual == "5");
    CHECK(finding.expected == "1 to 4");
}

TEST_CASE("a used dimension is 1 to 2^31 - 1, an unused one 0 or 1") {
    CHECK(with(field(wq.index, dims), 0U) == Codes{"bad_dim"});
    CHECK(with(field(wq.index, dims), limits::dim) == Codes{"shape_mismatch", "length_mismatch"});
    CHECK(with(field(wq.index, dims), limits::dim + 1) == Codes{"bad_dim"});
    CHECK(with(field(wq.index, dims + 8), 0U).empty());
    CHECK(with(field(wq.index, dims + 12), 0U).empty());
    CHECK(with(field(wq.index, dims + 8), 2U) == Codes{"bad_dim"});
    CHECK(with(field(wq.index, dims + 12), 0xffffffffU) == Codes{"bad_dim"});
}

TEST_CASE("a tensor has at most 2^40 elements") {
    const auto shaped = [](std::uint32_t a, std::uint32_t b, std::uint32_t c) {
        return codes(Edited()
                         .set(field(wq.index, rank), 3U)
                         .set(field(wq.index, dims), std::array{a, b, c, 1U})
                         .sealed());
    };
    const Codes wrong_shape{"shape_mismatch", "length_mismatch"};
    CHECK(shaped(1U << 20, 1U << 20, 1) == wrong_shape);
    CHECK(shaped((1U << 20) + 1, 1U << 20, 1) == Codes{"limit_exceeded"});
    CHECK(shaped(limits::dim, limits::dim, 4) == Codes{"limit_exceeded"});  // just below 2^64
    CHECK(shaped(limits::dim, limits::dim, 5) == Codes{"limit_exceeded", "size_overflow"});
    CHECK(shaped(limits::dim, limits::dim, limits::dim) ==
          Codes{"limit_exceeded", "size_overflow"});
}

TEST_CASE("a payload is aligned and inside the file") {
    CHECK(with(field(wq.index, byte_offset), wq.offset + 4) == Codes{"misaligned"});
    CHECK(with(field(output.index, byte_offset), output.offset + 64) == Codes{"range_out_of_file"});
    CHECK(with(field(wq.index, byte_offset), std::uint64_t{1} << 63) == Codes{"range_out_of_file"});
    CHECK(with(field(wq.index, byte_offset), ~std::uint64_t{63}) ==
          Codes{"range_out_of_file", "size_overflow"});
}

TEST_CASE("a payload's length follows from dtype and shape") {
    CHECK(with(field(wq.index, byte_length), wq.length - 1) == Codes{"length_mismatch"});
    CHECK(with(field(wq.index, byte_length), wq.length + 1) == Codes{"length_mismatch"});
    CHECK(with(field(wq.index, byte_length), std::uint64_t{0}) == Codes{"length_mismatch"});
    CHECK(with(field(wq.index, byte_length), ~std::uint64_t{0}) ==
          Codes{"length_mismatch", "range_out_of_file", "size_overflow"});
}

TEST_CASE("an f32 tensor has neither scales nor blocks") {
    CHECK(with(field(wq.index, scale_offset), std::uint64_t{4}) == Codes{"bad_value"});
    CHECK(with(field(wq.index, block_size), 1U) == Codes{"bad_block_size"});
}

TEST_CASE("a block of q8_0 is a row") {
    for (const std::uint32_t block : {0U, 4U, 7U, 9U, 16U}) {
        CHECK(codes(Edited(Dtype::q8_0).set(field(wq.index, block_size), block).sealed()) ==
              Codes{"bad_block_size"});
    }
}

TEST_CASE("a block of q4_0 is even and divides a row") {
    for (const std::uint32_t block : {0U, 1U, 3U, 5U, 6U, 9U, 16U}) {
        CHECK(codes(Edited(Dtype::q4_0).set(field(wq.index, block_size), block).sealed()) ==
              Codes{"bad_block_size"});
    }
    // Blocks of 2 are legal, and their four times as many scales reach into what comes after.
    CHECK(codes(Edited(Dtype::q4_0).set(field(wq.index, block_size), 2U).sealed()) ==
          Codes{"bad_scale", "overlap"});
}

TEST_CASE("scales are 4-aligned and inside the file") {
    const auto scales_at = [](std::uint64_t offset) {
        return codes(Edited(Dtype::q8_0).set(field(output.index, scale_offset), offset).sealed());
    };
    const File file = sample::model(Dtype::q8_0);
    const auto placed = read(file)->tensors()[output.index];
    CHECK(scales_at(placed.scale_offset + 2) == Codes{"misaligned"});
    CHECK(scales_at(file.size() - placed.scale_length + 4) == Codes{"range_out_of_file"});
    CHECK(scales_at(std::uint64_t{1} << 63) == Codes{"range_out_of_file"});
    CHECK(scales_at(~std::uint64_t{3}) == Codes{"range_out_of_file", "size_overflow"});
}

TEST_CASE("an entry's reserved field is zero") {
    CHECK(with(field(wq.index, reserved), 1U) == Codes{"reserved_not_zero"});
    CHECK(with(field(wq.index, reserved), 0x80000000U) == Codes{"reserved_not_zero"});
}

TEST_CASE("a tensor of an unsupported dtype is present and has its bytes") {
    for (const std::uint32_t value : {0U, 4U, 0xffffffffU}) {
        CHECK(with(field(wq.index, dtype), value) == Codes{"unsupported_dtype"});
    }
    // Its values, scales and blocks mean nothing; the bytes are its own.
    CHECK(codes(Edited()
                    .set(field(wq.index, dtype), 9U)
                    .set(field(wq.index, scale_offset), std::uint64_t{3})
                    .set(field(wq.index, block_size), 7U)
                    .set(wq.offset, not_a_number)
                    .sealed()) == Codes{"unsupported_dtype"});
    CHECK(codes(Edited()
                    .set(field(wq.index, dtype), 9U)
                    .set(field(wq.index, byte_length), wq.length - 64)
                    .sealed()) == Codes{"hole", "unsupported_dtype"});
}

// ------------------------------------------------------------------------------- the contract

TEST_CASE("a renamed tensor is unexpected, and the one that it was is missing") {
    const File file = Edited().set(field(wq.index, name_hash), std::uint64_t{0x3039}).sealed();
    const Findings findings = findings_of(file);
    REQUIRE(findings.size() == 2);
    CHECK(findings[0].code == FindingCode::unexpected_tensor);
    CHECK(findings[0].tensor == "0x0000000000003039");
    CHECK(findings[1].code == FindingCode::missing_tensor);
    CHECK(findings[1].tensor == "layers.0.wq.weight");
    CHECK(findings[1].expected == "[8, 8]");
}

TEST_CASE("a tensor that is there twice is a duplicate") {
    const auto hash = load<std::uint64_t>(Edited().unsealed(), field(2, name_hash));
    const Findings findings = findings_of(Edited().set(field(3, name_hash), hash).sealed());
    REQUIRE(findings.size() == 2);
    CHECK(findings[0].code == FindingCode::duplicate_tensor);
    CHECK(findings[0].tensor == "layers.0.wq.weight");
    CHECK(findings[0].offset == field(3, name_hash));
    CHECK(findings[1].code == FindingCode::missing_tensor);
    CHECK(findings[1].tensor == "layers.0.wk.weight");
}

TEST_CASE("output.weight is there exactly when the output is not tied") {
    const Findings tied = findings_of(Edited().set(16, 1U).sealed());
    REQUIRE(tied.size() == 1);
    CHECK(tied[0].code == FindingCode::unexpected_tensor);
    const Findings cut =
        findings_of(Edited().set(88, 11U).resize(norm.offset + norm.length).sealed());
    // The directory's last entry is no region any more, but a hole.
    CHECK(codes_of(cut) == Codes{"hole", "missing_tensor"});
}

TEST_CASE("a tensor has the shape that the header demands") {
    const Findings findings =
        findings_of(Edited().set(field(0, dims), std::array{8U, 260U}).sealed());
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].code == FindingCode::shape_mismatch);
    CHECK(findings[0].tensor == "tok_embeddings.weight");
    CHECK(findings[0].expected == "[260, 8]");
    CHECK(findings[0].actual == "[8, 260]");
    CHECK(with(48, 13U) == Codes{"shape_mismatch"});  // ffn_size: w1, w2, w3
    CHECK(findings_of(Edited().set(48, 13U).sealed()).size() == 3);
}

TEST_CASE("a product of the header's numbers past 2^32 fits no tensor") {
    const Findings findings = findings_of(Edited().set(44, 1U << 31).sealed());  // head_dim
    CHECK(codes_of(findings) == Codes{"shape_mismatch"});
    CHECK(findings[0].expected == "[4294967296, 8]");
}

TEST_CASE("more layers miss their tensors, and a hostile number of them no more than the limit") {
    CHECK(findings_of(Edited().set(32, 2U).sealed()).size() == 9);
    CHECK(findings_of(Edited().set(32, 111U).sealed()).size() == 990);
    const Findings findings = findings_of(Edited().set(32, 0xffffffffU).sealed());
    CHECK(findings.size() == limits::findings);
    CHECK(codes_of(findings) == Codes{"missing_tensor"});
}

TEST_CASE("no tensor is missed or unexpected when layer_count or model_type is wrong") {
    const Edited renamed = Edited().set(field(wq.index, name_hash), std::uint64_t{1});
    CHECK(codes(Edited(renamed).set(32, 0U).sealed()) == Codes{"bad_value"});
    CHECK(codes(Edited(renamed).set(12, 3U).sealed()) == Codes{"bad_value"});
}

TEST_CASE("a directory of the largest size is judged") {
    Edited file;
    file.insert(directory, std::uint64_t{64} * limits::tensors);
    file.set(80, directory).set(88, limits::tensors);
    const Findings findings = findings_of(file.sealed());
    CHECK(findings.full());
    CHECK(findings.dropped() > limits::tensors);
    CHECK(findings.contains(FindingCode::duplicate_tensor));
    CHECK(findings.contains(FindingCode::unexpected_tensor));
}

// -------------------------------------------------------------------------------- the regions

TEST_CASE("regions share no bytes, and an overlap names both") {
    const Findings findings =
        findings_of(Edited().set(field(norm.index, byte_offset), wq.offset).sealed());
    CHECK(codes_of(findings) == Codes{"hole", "overlap"});  // it leaves 64 bytes to nobody
    const Finding& finding = findings[0];
    CHECK(finding.code == FindingCode::overlap);
    CHECK(finding.offset == wq.offset);
    const std::string both = finding.tensor + " " + finding.message;
    CHECK(both.find("layers.0.wq.weight") != std::string::npos);
    CHECK(both.find("norm.weight") != std::string::npos);
}

TEST_CASE("every pair of regions is kept apart") {
    CHECK(with(64, std::uint64_t{120}).contains("overlap"));  // tokenizer and header
    CHECK(with(64, directory).contains("overlap"));           // tokenizer and directory
    CHECK(with(80, std::uint64_t{64}).contains("overlap"));   // directory and header
    CHECK(with(8, 160U).contains("overlap"));                 // header and tokenizer
    CHECK(with(field(1, byte_offset), std::uint64_t{0}).contains("overlap"));
    CHECK(with(field(1, byte_offset), directory).contains("overlap"));
    const auto scales = Edited(Dtype::q8_0).set(field(1, scale_offset), std::uint64_t{960});
    CHECK(codes(scales.sealed()).contains("overlap"));
}

TEST_CASE("the values of a region that overlaps another are not looked at twice") {
    // Every tensor's payload is the whole rest of the file: work must not grow with their number.
    Edited file;
    for (std::size_t i = 0; i < tensor_count; ++i) {
        file.set(field(i, byte_offset), tok_embeddings.offset);
    }
    file.set(tok_embeddings.offset, not_a_number);
    const Findings findings = findings_of(file.sealed());
    const auto values = std::count_if(findings.begin(), findings.end(), [](const Finding& finding) {
        return finding.code == FindingCode::non_finite;
    });
    CHECK(values == 1);
}

TEST_CASE("a gap of 63 bytes is padding, one of 64 is a hole") {
    // The tokenizer begins 63 or 64 bytes after the header.
    const auto gap = [](std::uint64_t bytes) {
        Edited file;
        const auto section = load<std::array<std::byte, 28>>(file.unsealed(), tokenizer);
        file.insert(tokenizer, 64);
        file.set(tokenizer + 64, std::array<std::byte, 28>{});
        file.set(128 + bytes, section).set(64, 128 + bytes);
        return file.sealed();
    };
    CHECK(codes(gap(63)).empty());
    const Finding hole = only_finding(gap(64));
    CHECK(hole.code == FindingCode::hole);
    CHECK(hole.offset == 128);
    CHECK(hole.actual == "64 bytes");
}

TEST_CASE("a hole between payloads is found") {
    const Finding hole = only_finding(Edited().insert(norm.offset, 64).sealed());
    CHECK(hole.code == FindingCode::hole);
    CHECK(hole.offset == w3.offset + w3.length);
}

TEST_CASE("a file ends with up to 63 zero bytes") {
    CHECK(codes(Edited().resize(f32_bytes + 63).sealed()).empty());
    const Finding trailing = only_finding(Edited().resize(f32_bytes + 64).sealed());
    CHECK(trailing.code == FindingCode::trailing_bytes);
    CHECK(trailing.offset == f32_bytes);
}

TEST_CASE("padding is zero") {
    const std::uint64_t between = attn_norm.offset + attn_norm.length;
    for (const std::uint64_t offset : {between, wq.offset - 1, tokenizer + 28, directory - 1}) {
        const Finding finding = only_finding(Edited().set(offset, std::uint8_t{0x41}).sealed());
        CHECK(finding.code == FindingCode::padding_not_zero);
        CHECK(finding.offset == offset);
        CHECK(finding.actual == "0x41");
    }
    const Finding tail =
        only_finding(Edited().resize(f32_bytes + 63).set(f32_bytes + 62, std::uint8_t{1}).sealed());
    CHECK(tail.code == FindingCode::padding_not_zero);
    CHECK(tail.offset == f32_bytes + 62);
}

TEST_CASE("coverage is judged only when every region is known") {
    const Edited holed = Edited().insert(norm.offset, 64);
    CHECK(codes(Edited(holed).set(field(wq.index, byte_offset), std::uint64_t{1} << 40).sealed()) ==
          Codes{"range_out_of_file"});
    CHECK(codes(Edited(holed).set(64, std::uint64_t{1} << 40).sealed()) ==
          Codes{"range_out_of_file"});
    CHECK(codes(Edited(holed).set(88, 0U).sealed()) == Codes{"bad_value"});
}

// --------------------------------------------------------------------------------- the values

TEST_CASE("weights are finite, and the first that is not is named") {
    for (const float value : {not_a_number, infinity, -infinity}) {
        const std::uint64_t offset = wq.offset + 17 * sizeof(float);
        const Finding finding =
            only_finding(Edited().set(offset, value).set(offset + 8, not_a_number).sealed());
        CHECK(finding.code == FindingCode::non_finite);
        CHECK(finding.tensor == "layers.0.wq.weight");
        CHECK(finding.element == 17);
        CHECK(finding.offset == offset);
    }
    CHECK(with(wq.offset, std::numeric_limits<float>::max()).empty());
    CHECK(with(wq.offset, std::numeric_limits<float>::denorm_min()).empty());
    CHECK(with(output.offset + output.length - 4, not_a_number) == Codes{"non_finite"});
}

TEST_CASE("each tensor's first offending value is reported") {
    const Findings findings =
        findings_of(Edited().set(wq.offset, not_a_number).set(norm.offset + 4, infinity).sealed());
    REQUIRE(findings.size() == 2);
    CHECK(findings[0].tensor == "layers.0.wq.weight");
    CHECK(findings[1].tensor == "norm.weight");
    CHECK(findings[1].actual == "inf");
}

TEST_CASE("scales are above zero and below the bound of their storage") {
    for (const auto& [storage, bound] : {std::pair(Dtype::q8_0, std::ldexp(1.0F, 121)),
                                         std::pair(Dtype::q4_0, std::ldexp(1.0F, 125))}) {
        const File file = sample::model(storage);
        const auto tensor = read(file)->tensors()[wq.index];
        const std::uint64_t offset = tensor.scale_offset + 3 * sizeof(float);
        for (const float scale : {0.0F, -0.0F, -1.0F, not_a_number, infinity, -infinity, bound}) {
            const Finding finding = only_finding(Edited(file).set(offset, scale).sealed());
            CHECK(finding.code == FindingCode::bad_scale);
            CHECK(finding.tensor == "layers.0.wq.weight");
            CHECK(finding.element == 3);
            CHECK(finding.offset == offset);
        }
        CHECK(codes(Edited(file).set(offset, std::nextafter(bound, 0.0F)).sealed()).empty());
        CHECK(codes(Edited(file).set(offset, std::numeric_limits<float>::denorm_min()).sealed())
                  .empty());
    }
}

TEST_CASE("every code is a value") {
    const File file = sample::model(Dtype::q8_0);
    const auto tensor = read(file)->tensors()[wq.index];
    CHECK(codes(Edited(file).set(tensor.payload_offset, std::int8_t{-128}).sealed()).empty());
}

// ---------------------------------------------------------------------------------- the depth

TEST_CASE("at the depth of headers nothing that grows with the weights is touched") {
    const File file = sample::model(Dtype::q8_0);
    const GuardedFile guarded(file, directory + tensor_count * 64);
    const auto model = read_model(guarded.bytes(), {.depth = ReadDepth::headers});
    REQUIRE(model);
    CHECK(model->identity() == read(file)->identity());
}

TEST_CASE("at the depth of headers checksum, padding and values are not judged") {
    const ModelReadOptions headers{.depth = ReadDepth::headers};
    CHECK(codes(Edited().set(100, std::uint64_t{0}).unsealed(), headers).empty());
    CHECK(codes(Edited().set(wq.offset, not_a_number).unsealed(), headers).empty());
    CHECK(codes(Edited().set(wq.offset - 1, std::uint8_t{1}).unsealed(), headers).empty());
    CHECK(codes(Edited().insert(norm.offset, 64).unsealed(), headers) == Codes{"hole"});
    CHECK(codes(Edited().set(field(1, rank), 9U).unsealed(), headers) == Codes{"bad_rank"});
}

// ------------------------------------------------------------------------------- the progress

TEST_CASE("reading tells how far it is and can be cancelled") {
    // Large enough for progress to be told; what is wrong with it does not matter then.
    File file = sample::model(Dtype::q8_0);
    const std::size_t size = file.size() + 3'000'000;
    file.resize(size);
    std::uint64_t told = 0;
    const auto tell = [&](std::uint64_t done, std::uint64_t total) {
        CHECK(done > told);
        CHECK(total == size);
        told = done;
        return true;
    };
    CHECK(codes(file, {.progress = tell}) == Codes{"checksum_mismatch", "trailing_bytes"});
    CHECK(told > 2'000'000);

    const Progress says_no = [](auto, auto) { return false; };
    const Progress throws = [](auto, auto) -> bool { throw 1; };
    for (const Progress& progress : {says_no, throws}) {
        const auto cancelled = read_model(file, {.progress = progress});
        REQUIRE_FALSE(cancelled);
        REQUIRE(cancelled.error().size() == 1);
        CHECK(cancelled.error()[0].code == FindingCode::output_failed);
    }
}

// --------------------------------------------------------------------------- many at once, any

TEST_CASE("every defect of a file is reported in one run") {
    const File file = Edited()
                          .set(12, 2U)
                          .set(56, not_a_number)
                          .set(120, std::uint8_t{1})
                          .set(tokenizer + 8, 7U)
                          .set(field(1, rank), 9U)
                          .set(field(2, byte_offset), wq.offset + 1)
                          .set(field(3, reserved), 1U)
                          .set(norm.offset, not_a_number)
                          .unsealed();
    CHECK(codes(file) == Codes{"bad_rank", "bad_value", "checksum_mismatch", "misaligned",
                               "non_finite", "reserved_not_zero", "tokenizer_malformed"});
}

TEST_CASE("any bit of the head changed after sealing is found") {
    const File file = sample::model(Dtype::q4_0);
    for (std::uint64_t bit = 0; bit < (directory + tensor_count * 64) * 8; ++bit) {
        CAPTURE(bit);
        File damaged = file;
        const std::uint64_t byte = bit / 8;
        damaged[byte] ^= static_cast<std::byte>(1U << (bit % 8));
        const Codes found = codes(damaged);
        if (byte < 4) {
            CHECK(found == Codes{"bad_magic"});
        } else if (byte < 8) {
            CHECK(found == Codes{"unsupported_version"});
        } else if (byte < 12 && (load<std::uint32_t>(damaged, 8) < 108 ||
                                 load<std::uint32_t>(damaged, 8) > damaged.size())) {
            CHECK(found == Codes{"bad_header_length"});
        } else if (byte >= 108 && byte < 112) {
            CHECK(found == Codes{"checksum_unverifiable"});
        } else {
            CHECK(found.contains("checksum_mismatch"));
        }
    }
}

TEST_CASE("any bit of the head changed and sealed is read or refused, never worse") {
    const File file = sample::model(Dtype::q4_0);
    for (std::uint64_t bit = 0; bit < (directory + tensor_count * 64) * 8; ++bit) {
        CAPTURE(bit);
        File damaged = file;
        damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        if (bit / 8 < 4) continue;  // sealing goes by the magic
        sample::seal(damaged);
        CHECK_FALSE(codes(damaged).contains("checksum_mismatch"));
    }
}

TEST_CASE("a file cut short anywhere is refused") {
    const File file = sample::model(Dtype::q4_0);
    for (std::size_t size = 0; size < file.size(); size += size < 1000 ? 1 : 61) {
        CAPTURE(size);
        const Codes found =
            codes(File(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size)));
        if (size < 108) {
            CHECK(found == Codes{"truncated"});
        } else if (size < 128) {
            CHECK(found == Codes{"bad_header_length"});
        } else {
            CHECK(found.contains("checksum_mismatch"));
        }
    }
}
