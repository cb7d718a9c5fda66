// The C interface: handles around the library's objects, structs that may grow, and nothing thrown.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "effects.hpp"
#include "guard.hpp"
#include "quietly.hpp"
#include "trlm/adapt/memory.hpp"
#include "trlm/adapt/version.hpp"
#include "trlm_adapt.h"

namespace adapt = trlm::adapt;
using adapt::Finding;
using adapt::FindingCode;
using adapt::Findings;

namespace {

/// An engine's description, copied. Its tensors' names are views of `names`.
struct Engine {
    std::vector<std::string> names;
    std::vector<adapt::MemoryTensor> tensors;
    adapt::MemoryModel model;  // its tensors are `tensors`
    adapt::Executor executor;
};

}  // namespace

struct trlm_adapt_findings {
    Findings all;
};

struct trlm_adapt_model {
    adapt::Model model;
};

struct trlm_adapt_package {
    adapt::Package package;
    std::string file;
};

struct trlm_adapt_engine {
    std::shared_ptr<const Engine> engine;
};

struct trlm_adapt_plan {
    std::shared_ptr<const Engine> engine;
    adapt::MemoryPlan plan;
};

struct trlm_adapt_applied {
    std::shared_ptr<const Engine> engine;  // outlives what is applied: its names, its threads
    std::optional<adapt::Applied> applied;
};

namespace {

// ------------------------------------------------------------------------------- what was found

Finding usage(std::string message) {
    return adapt::make_finding(FindingCode::usage_error, std::move(message));
}

/// Hands the findings to the caller, if it wants them and there are any.
void hand_over(Findings found, trlm_adapt_findings** findings) noexcept {
    if (findings == nullptr || (found.empty() && found.dropped() == 0)) return;
    // cppcheck-suppress ignoredReturnValue ; what std::move gives initializes the object
    *findings = new (std::nothrow) trlm_adapt_findings{std::move(found)};
}

/// Runs `work`, which adds what it finds to the findings that it is given, and tells the caller.
template <class Work>
trlm_adapt_status answer(trlm_adapt_findings** findings, Work&& work) noexcept {
    if (findings != nullptr) *findings = nullptr;
    Findings found;
    if (!adapt::quietly([&] { work(found); })) {
        found = std::move(adapt::out_of_memory().value());
    }
    const auto status = static_cast<trlm_adapt_status>(found.exit_code());
    hand_over(std::move(found), findings);
    return status;
}

/// Whether an argument that has to be given is.
bool is_given(const void* argument, std::string_view name, Findings& found) {
    if (argument != nullptr) return true;
    found.add(usage(fmt::format("{} is NULL, but has to be given", name)));
    return false;
}

/// An object for the caller to own, or `out_of_memory`.
template <class Handle>
std::unique_ptr<Handle> make_handle(Findings& found) {
    std::unique_ptr<Handle> handle(new (std::nothrow) Handle);
    if (!handle) found.append(std::move(adapt::out_of_memory().value()));
    return handle;
}

// --------------------------------------------------------------------------- structs that may grow

/// Whether a caller's struct is one of `size` bytes that has all members up to byte `least`.
/// Members fill their structs without padding at the end, so that none can hide behind the others.
bool is_size(std::size_t size, std::size_t least, std::size_t alignment) noexcept {
    return size >= least && size % alignment == 0;
}

/// Copies the members that both sides know; the others are 0.
template <class Struct>
bool read_struct(const Struct* from, std::size_t least, std::string_view name, Struct& to,
                 Findings& found) {
    if (!is_given(from, name, found)) return false;
    const std::size_t size = from->size;
    if (!is_size(size, least, alignof(Struct))) {
        found.add(usage(
            fmt::format("the size of {} is {}, but its struct has {} bytes here, of which {} are "
                        "required; set it to the sizeof of the struct",
                        name, size, sizeof(Struct), least)));
        return false;
    }
    to = {};
    std::memcpy(&to, from, std::min(size, sizeof(Struct)));
    return true;
}

/// The same where NULL means that everything is 0.
template <class Struct>
bool read_options(const Struct* from, std::string_view name, Struct& to, Findings& found) {
    to = {};
    return from == nullptr || read_struct(from, sizeof(from->size), name, to, found);
}

/// Copies the members that both sides know, and leaves the caller's size.
template <class Struct>
trlm_adapt_status write_struct(Struct from, Struct* to) noexcept {
    const std::size_t size = to->size;
    if (!is_size(size, 2 * sizeof(size), alignof(Struct))) return TRLM_ADAPT_USAGE;
    from.size = size;
    std::memcpy(to, &from, std::min(size, sizeof(Struct)));
    return TRLM_ADAPT_OK;
}

/// Element `index` of an array whose elements lie as far apart as the caller's struct is long.
template <class Struct>
const Struct* element(const Struct* array, std::size_t index) noexcept {
    const auto* const bytes = reinterpret_cast<const std::byte*>(array);
    return reinterpret_cast<const Struct*>(bytes + index * array->size);
}

/// Element `index` of an array, read; all of them have the size of the first.
template <class Struct>
bool read_element(const Struct* array, std::size_t index, std::size_t least, std::string_view name,
                  Struct& to, Findings& found) {
    const Struct* const from = element(array, index);
    const std::string label = fmt::format("{}[{}]", name, index);
    if (!read_struct(from, least, label, to, found)) return false;
    if (to.size == array->size) return true;
    found.add(usage(fmt::format("the size of {} is {}, but that of the first element is {}", label,
                                to.size, array->size)));
    return false;
}

constexpr std::size_t least_tensor =
    offsetof(trlm_adapt_tensor, scales) + sizeof(trlm_adapt_tensor::scales);
constexpr std::size_t least_description = offsetof(trlm_adapt_engine_description, tensor_count) +
                                          sizeof(trlm_adapt_engine_description::tensor_count);

static_assert(adapt::version.starts_with("1."), "TRLM_ADAPT_ABI is the major version");
static_assert(static_cast<int>(adapt::ExitCode::policy) == TRLM_ADAPT_POLICY);
static_assert(static_cast<int>(adapt::ExitCode::cannot_check) == TRLM_ADAPT_CANNOT_CHECK);
static_assert(static_cast<int>(adapt::ExitCode::incompatible) == TRLM_ADAPT_INCOMPATIBLE);
static_assert(static_cast<int>(adapt::ExitCode::drift) == TRLM_ADAPT_DRIFT);
static_assert(static_cast<int>(adapt::ExitCode::usage) == TRLM_ADAPT_USAGE);
static_assert(static_cast<int>(adapt::ExitCode::invalid) == TRLM_ADAPT_INVALID);
static_assert(static_cast<int>(adapt::Dtype::q4_0) == TRLM_ADAPT_Q4_0);
static_assert(static_cast<int>(adapt::PackageKind::low_rank) == TRLM_ADAPT_LOW_RANK);
static_assert(static_cast<int>(adapt::Severity::warning) == TRLM_ADAPT_WARNING);

// -------------------------------------------------------------------------------- to and from C

trlm_adapt_status status_of(adapt::FindingClass finding_class) noexcept {
    switch (finding_class) {
        case adapt::FindingClass::drift:
            return TRLM_ADAPT_DRIFT;
        case adapt::FindingClass::invalid:
            return TRLM_ADAPT_INVALID;
        case adapt::FindingClass::incompatible:
            return TRLM_ADAPT_INCOMPATIBLE;
        case adapt::FindingClass::policy:
            return TRLM_ADAPT_POLICY;
        case adapt::FindingClass::cannot_check:
            return TRLM_ADAPT_CANNOT_CHECK;
        case adapt::FindingClass::usage:
            break;
    }
    return TRLM_ADAPT_USAGE;
}

trlm_adapt_status write_code(FindingCode code, trlm_adapt_code* info) noexcept {
    const adapt::FindingInfo& row = adapt::finding_info(code);
    trlm_adapt_code out{};
    out.name = row.name.data();
    out.meaning = row.meaning.data();
    out.cause = row.cause.data();
    out.remedy = row.remedy.data();
    out.code = static_cast<std::uint32_t>(code);
    out.status = static_cast<std::uint32_t>(status_of(row.finding_class));
    return write_struct(out, info);
}

trlm_adapt_status write_identity(const adapt::Identity& identity,
                                 trlm_adapt_identity* out) noexcept {
    trlm_adapt_identity all{};
    all.parameter_count = identity.parameter_count;
    all.tensor_layout_checksum = identity.tensor_layout_checksum;
    all.tokenizer_checksum = identity.tokenizer_checksum;
    all.model_flags = identity.model_flags;
    all.tensor_count = identity.tensor_count;
    return write_struct(all, out);
}

bool read_identity(const trlm_adapt_identity* from, adapt::Identity& to, Findings& found) {
    trlm_adapt_identity all;
    if (!read_struct(from, sizeof(all), "identity", all, found)) return false;
    to = {all.model_flags, all.tensor_count, all.parameter_count, all.tensor_layout_checksum,
          all.tokenizer_checksum};
    return true;
}

adapt::MutableBytes span_of(void* data, std::size_t bytes) noexcept {
    return {static_cast<std::byte*>(data), bytes};
}

adapt::Bytes span_of(const void* data, std::size_t bytes) noexcept {
    return {static_cast<const std::byte*>(data), bytes};
}

/// What the caller left out of a shape in C is 0.
adapt::Shape shape_of(const trlm_adapt_tensor& tensor) noexcept {
    adapt::Shape shape;
    shape.rank = tensor.rank;
    for (std::size_t i = 0; i < shape.dims.size(); ++i) {
        const bool left_out = i >= tensor.rank && tensor.dims[i] == 0;
        shape.dims[i] = left_out ? 1 : tensor.dims[i];
    }
    return shape;
}

bool read_tensors(const trlm_adapt_engine_description& from, Engine& to, Findings& found) {
    // Memory for them is taken when the first one's size is known to be one.
    for (std::size_t i = 0; i < from.tensor_count; ++i) {
        trlm_adapt_tensor tensor;
        if (!read_element(from.tensors, i, least_tensor, "tensors", tensor, found)) return false;
        if (i == 0) {
            to.names.reserve(from.tensor_count);
            to.tensors.reserve(from.tensor_count);
        }
        const std::string& name = to.names.emplace_back(tensor.name != nullptr ? tensor.name : "");
        adapt::MemoryTensor& out = to.tensors.emplace_back();
        const bool hash_is_left_out = tensor.name_hash == 0 && !name.empty();
        out.name_hash = hash_is_left_out ? adapt::tensor_name_hash(name) : tensor.name_hash;
        out.name = name;
        out.dtype = static_cast<adapt::Dtype>(tensor.dtype);
        out.shape = shape_of(tensor);
        out.block_size = tensor.block_size;
        out.payload = span_of(tensor.payload, tensor.payload_bytes);
        out.scales = span_of(tensor.scales, tensor.scale_bytes);
        if (tensor.max_abs != 0.0F) out.max_abs = tensor.max_abs;
    }
    to.model.tensors = to.tensors;
    return true;
}

bool read_access(const trlm_adapt_access* from, adapt::TileAccess& to, Findings& found) {
    if (from == nullptr) return true;
    trlm_adapt_access all;
    if (!read_struct(from, sizeof(all), "access", all, found)) return false;
    if (all.read != nullptr) {
        to.read = [all](const adapt::RowRange& rows, adapt::MutableBytes payload,
                        adapt::MutableBytes scales) {
            return all.read(all.context, rows.tensor, rows.first_row, rows.rows, payload.data(),
                            payload.size(), scales.data(), scales.size()) != 0;
        };
    }
    if (all.write != nullptr) {
        to.write = [all](const adapt::RowRange& rows, adapt::Bytes payload, adapt::Bytes scales) {
            return all.write(all.context, rows.tensor, rows.first_row, rows.rows, payload.data(),
                             payload.size(), scales.data(), scales.size()) != 0;
        };
    }
    return true;
}

bool read_allocator(const trlm_adapt_allocator* from, adapt::Allocator& to, Findings& found) {
    if (from == nullptr) return true;
    trlm_adapt_allocator all;
    if (!read_struct(from, sizeof(all), "allocator", all, found)) return false;
    to = {all.allocate, all.release, all.context};
    return true;
}

bool read_quiescence(const trlm_adapt_quiescence* from, adapt::Quiescence& to, Findings& found) {
    if (from == nullptr) return true;
    trlm_adapt_quiescence all;
    if (!read_struct(from, sizeof(all), "quiescence", all, found)) return false;
    if (all.begin != nullptr) to.begin = [all] { return all.begin(all.context) != 0; };
    if (all.end != nullptr) to.end = [all] { all.end(all.context); };
    return true;
}

/// The work of one call of `parallel_for`, as C code sees it.
struct Work {
    const std::function<void(std::size_t)>* task = nullptr;
    std::size_t count = 0;
};

void run_task(void* context, std::size_t index) {
    const auto& work = *static_cast<const Work*>(context);
    if (index < work.count) (*work.task)(index);  // one that does not exist is not ours to run
}

bool read_executor(const trlm_adapt_engine_description& from, adapt::Executor& to,
                   Findings& found) {
    if (from.executor == nullptr) {
        const std::size_t processors = std::max(1U, std::thread::hardware_concurrency());
        to = adapt::make_executor(std::clamp<std::size_t>(from.threads, 1, processors));
        return true;
    }
    trlm_adapt_executor all;
    if (!read_struct(from.executor, sizeof(all), "executor", all, found)) return false;
    if (all.parallel_for == nullptr) {
        found.add(usage("the executor's parallel_for is NULL; give none to use threads instead"));
        return false;
    }
    to.concurrency = std::max<std::size_t>(1, all.concurrency);
    to.parallel_for = [all](std::size_t count, const std::function<void(std::size_t)>& task) {
        Work work{&task, count};
        all.parallel_for(all.context, count, run_task, &work);
    };
    return true;
}

bool read_description(const trlm_adapt_engine_description* from, Engine& to, Findings& found) {
    trlm_adapt_engine_description all;
    if (!read_struct(from, least_description, "description", all, found)) return false;
    if (!is_given(all.tensors, "description.tensors", found)) return false;
    to.model.keep_base = all.discard_base == 0;
    return read_identity(all.identity, to.model.identity, found) && read_tensors(all, to, found) &&
           read_access(all.access, to.model.access, found) &&
           read_allocator(all.allocator, to.model.allocator, found) &&
           read_quiescence(all.quiescence, to.model.quiescence, found) &&
           read_executor(all, to.executor, found);
}

bool read_stack(const trlm_adapt_member* members, std::size_t count, adapt::Stack& stack,
                Findings& found) {
    if (!is_given(members, "members", found)) return false;
    for (std::size_t i = 0; i < count; ++i) {
        trlm_adapt_member member;
        if (!read_element(members, i, sizeof(member), "members", member, found)) return false;
        if (!is_given(member.package, fmt::format("members[{}].package", i), found)) return false;
        stack.push_back({&member.package->package, member.strength, member.package->file});
    }
    return true;
}

bool read_rounding(std::uint32_t rounding, adapt::RoundingMode& mode, Findings& found) {
    switch (rounding) {
        case TRLM_ADAPT_ADAPTIVE:
            mode = adapt::RoundingMode::adaptive;
            return true;
        case TRLM_ADAPT_NEAREST:
            mode = adapt::RoundingMode::nearest;
            return true;
        case TRLM_ADAPT_STOCHASTIC:
            mode = adapt::RoundingMode::stochastic;
            return true;
        default:
            found.add(usage(fmt::format(
                "rounding {} is not TRLM_ADAPT_ADAPTIVE (0), _NEAREST (1) or _STOCHASTIC (2)",
                rounding)));
            return false;
    }
}

bool read_apply_options(const trlm_adapt_apply_options* from, const Engine& engine,
                        adapt::ApplyOptions& to, Findings& found) {
    trlm_adapt_apply_options all;
    if (!read_options(from, "options", all, found)) return false;
    if (!read_rounding(all.rounding, to.rounding.mode, found)) return false;
    to.rounding.seed = all.seed;
    to.survival = all.survival != 0;
    to.allow_no_effect = all.allow_no_effect != 0;
    if (all.has_min_survival != 0) to.min_survival = all.min_survival;
    to.executor = engine.executor;
    if (all.progress != nullptr) {
        to.progress = [progress = all.progress, context = all.progress_context](
                          std::uint64_t done, std::uint64_t total) {
            return progress(context, done, total) != 0;
        };
    }
    return true;
}

/// What a read found, with the name that the caller gave to the file.
void add_named(Findings of_read, const trlm_adapt_read_options& options, Findings& found) {
    if (options.file != nullptr) of_read.set_file(options.file);
    found.append(std::move(of_read));
}

/// The warnings of an application, which stands whether or not there is memory for them.
void add_warnings(const trlm_adapt_applied& applied, Findings& found) noexcept {
    (void)adapt::quietly([&] { found.append(applied.applied->report().warnings); });
}

template <class Struct>
void fill_shape(const adapt::Shape& shape, Struct& out) noexcept {
    out.rank = shape.rank;
    std::copy(shape.dims.begin(), shape.dims.end(), out.dims);
}

}  // namespace

// ------------------------------------------------------------------------------------- version

uint32_t trlm_adapt_abi(void) {
    return TRLM_ADAPT_ABI;
}

const char* trlm_adapt_version(void) {
    return adapt::version.data();
}

// ------------------------------------------------------------------------------------ findings

size_t trlm_adapt_findings_count(const trlm_adapt_findings* findings) {
    return findings == nullptr ? 0 : findings->all.size();
}

uint64_t trlm_adapt_findings_dropped(const trlm_adapt_findings* findings) {
    return findings == nullptr ? 0 : findings->all.dropped();
}

trlm_adapt_status trlm_adapt_findings_get(const trlm_adapt_findings* findings, size_t index,
                                          trlm_adapt_finding* finding) {
    if (finding == nullptr || index >= trlm_adapt_findings_count(findings)) return TRLM_ADAPT_USAGE;
    const Finding& from = findings->all[index];
    trlm_adapt_finding out{};
    out.name = adapt::finding_info(from.code).name.data();
    out.message = from.message.c_str();
    out.file = from.file.c_str();
    out.tensor = from.tensor.c_str();
    out.pointer = from.pointer.c_str();
    out.expected = from.expected.c_str();
    out.actual = from.actual.c_str();
    out.offset = from.offset.value_or(0);
    out.element = from.element.value_or(0);
    out.code = static_cast<std::uint32_t>(from.code);
    out.severity = static_cast<std::uint32_t>(from.severity);
    out.has_offset = from.offset.has_value() ? 1 : 0;
    out.has_element = from.element.has_value() ? 1 : 0;
    return write_struct(out, finding);
}

void trlm_adapt_findings_free(trlm_adapt_findings* findings) {
    delete findings;
}

trlm_adapt_status trlm_adapt_code_get(uint32_t code, trlm_adapt_code* info) {
    if (info == nullptr || code >= adapt::finding_code_count) return TRLM_ADAPT_USAGE;
    return write_code(static_cast<FindingCode>(code), info);
}

trlm_adapt_status trlm_adapt_code_find(const char* name, trlm_adapt_code* info) {
    if (name == nullptr || info == nullptr) return TRLM_ADAPT_USAGE;
    const auto code = adapt::find_finding_code(name);
    return code ? write_code(*code, info) : TRLM_ADAPT_USAGE;
}

// -------------------------------------------------------------------------- models and packages

trlm_adapt_status trlm_adapt_model_read(const void* bytes, size_t byte_count,
                                        const trlm_adapt_read_options* options,
                                        trlm_adapt_model** model, trlm_adapt_findings** findings) {
    if (model != nullptr) *model = nullptr;
    return answer(findings, [&](Findings& found) {
        trlm_adapt_read_options all;
        if (!is_given(model, "model", found) || !is_given(bytes, "bytes", found) ||
            !read_options(options, "options", all, found)) {
            return;
        }
        auto handle = make_handle<trlm_adapt_model>(found);
        if (!handle) return;
        adapt::ModelReadOptions how;
        if (all.accept_foreign_checksum != 0) how.checksum = adapt::ChecksumPolicy::accept_foreign;
        auto read = adapt::read_model(span_of(bytes, byte_count), how);
        if (!read) return add_named(std::move(read.error()), all, found);
        add_named(read->warnings(), all, found);
        handle->model = std::move(*read);
        *model = handle.release();
    });
}

trlm_adapt_status trlm_adapt_model_identity(const trlm_adapt_model* model,
                                            trlm_adapt_identity* identity) {
    if (model == nullptr || identity == nullptr) return TRLM_ADAPT_USAGE;
    return write_identity(model->model.identity(), identity);
}

trlm_adapt_status trlm_adapt_model_get(const trlm_adapt_model* model, trlm_adapt_model_info* info) {
    if (model == nullptr || info == nullptr) return TRLM_ADAPT_USAGE;
    const adapt::ModelShape& shape = model->model.shape();
    trlm_adapt_model_info out{};
    out.tokenizer = model->model.tokenizer_section().data();
    out.tokenizer_bytes = model->model.tokenizer_section().size();
    out.checksum = model->model.checksum();
    out.tensor_count = static_cast<std::uint32_t>(model->model.tensors().size());
    out.vocab_size = shape.vocab_size;
    out.special_token_count = shape.special_token_count;
    out.hidden_size = shape.hidden_size;
    out.layer_count = shape.layer_count;
    out.head_count = shape.head_count;
    out.kv_head_count = shape.kv_head_count;
    out.head_dim = shape.head_dim;
    out.ffn_size = shape.ffn_size;
    out.max_context = shape.max_context;
    out.rope_theta = shape.rope_theta;
    out.rms_norm_epsilon = shape.rms_norm_epsilon;
    return write_struct(out, info);
}

trlm_adapt_status trlm_adapt_model_tensor(const trlm_adapt_model* model, size_t index,
                                          trlm_adapt_tensor* tensor) {
    if (model == nullptr || tensor == nullptr || index >= model->model.tensors().size()) {
        return TRLM_ADAPT_USAGE;
    }
    const adapt::ModelTensor& from = model->model.tensors()[index];
    const adapt::TensorView view = model->model.view(index);
    trlm_adapt_tensor out{};
    out.name = from.name.c_str();
    out.name_hash = from.name_hash;
    out.dtype = static_cast<std::uint32_t>(from.dtype);
    out.block_size = from.block_size;
    fill_shape(from.shape, out);
    out.max_abs = from.max_abs;
    out.payload_bytes = view.payload.size();
    out.scale_bytes = view.scales.size();
    out.file_payload = view.payload.data();
    out.file_scales = view.scales.empty() ? nullptr : view.scales.data();
    return write_struct(out, tensor);
}

void trlm_adapt_model_free(trlm_adapt_model* model) {
    delete model;
}

trlm_adapt_status trlm_adapt_package_read(const void* bytes, size_t byte_count,
                                          const trlm_adapt_read_options* options,
                                          trlm_adapt_package** package,
                                          trlm_adapt_findings** findings) {
    if (package != nullptr) *package = nullptr;
    return answer(findings, [&](Findings& found) {
        trlm_adapt_read_options all;
        if (!is_given(package, "package", found) || !is_given(bytes, "bytes", found) ||
            !read_options(options, "options", all, found)) {
            return;
        }
        auto handle = make_handle<trlm_adapt_package>(found);
        if (!handle) return;
        auto read = adapt::read_package(span_of(bytes, byte_count));
        if (!read) return add_named(std::move(read.error()), all, found);
        handle->package = std::move(*read);
        if (all.file != nullptr) handle->file = all.file;
        *package = handle.release();
    });
}

trlm_adapt_status trlm_adapt_package_identity(const trlm_adapt_package* package,
                                              trlm_adapt_identity* identity) {
    if (package == nullptr || identity == nullptr) return TRLM_ADAPT_USAGE;
    return write_identity(package->package.identity(), identity);
}

trlm_adapt_status trlm_adapt_package_get(const trlm_adapt_package* package,
                                         trlm_adapt_package_info* info) {
    if (package == nullptr || info == nullptr) return TRLM_ADAPT_USAGE;
    const std::string_view metadata = package->package.metadata();
    trlm_adapt_package_info out{};
    out.metadata = metadata.empty() ? nullptr : metadata.data();
    out.metadata_bytes = metadata.size();
    out.checksum = package->package.checksum();
    out.kind = static_cast<std::uint32_t>(package->package.kind());
    out.entry_count = static_cast<std::uint32_t>(package->package.entries().size());
    return write_struct(out, info);
}

trlm_adapt_status trlm_adapt_package_entry(const trlm_adapt_package* package, size_t index,
                                           trlm_adapt_entry* entry) {
    if (package == nullptr || entry == nullptr || index >= package->package.entries().size()) {
        return TRLM_ADAPT_USAGE;
    }
    const adapt::PackageEntry& from = package->package.entries()[index];
    trlm_adapt_entry out{};
    out.name = from.name.c_str();
    out.name_hash = from.name_hash;
    fill_shape(from.shape, out);
    out.count = from.count;
    out.low_rank = from.rank;
    out.scale = from.scale;
    return write_struct(out, entry);
}

void trlm_adapt_package_free(trlm_adapt_package* package) {
    delete package;
}

// -------------------------------------------------------------------------------------- engines

trlm_adapt_status trlm_adapt_engine_describe(const trlm_adapt_engine_description* description,
                                             trlm_adapt_engine** engine,
                                             trlm_adapt_findings** findings) {
    if (engine != nullptr) *engine = nullptr;
    return answer(findings, [&](Findings& found) {
        if (!is_given(engine, "engine", found)) return;
        auto handle = make_handle<trlm_adapt_engine>(found);
        if (!handle) return;
        const auto described = std::make_shared<Engine>();
        if (!read_description(description, *described, found)) return;
        handle->engine = described;
        *engine = handle.release();
    });
}

void trlm_adapt_engine_free(trlm_adapt_engine* engine) {
    delete engine;
}

// --------------------------------------------------------------------------- plan, apply, undo

trlm_adapt_status trlm_adapt_plan_stack(const trlm_adapt_engine* engine,
                                        const trlm_adapt_member* members, size_t member_count,
                                        trlm_adapt_plan** plan, trlm_adapt_findings** findings) {
    if (plan != nullptr) *plan = nullptr;
    return answer(findings, [&](Findings& found) {
        adapt::Stack stack;
        if (!is_given(plan, "plan", found) || !is_given(engine, "engine", found) ||
            !read_stack(members, member_count, stack, found)) {
            return;
        }
        auto handle = make_handle<trlm_adapt_plan>(found);
        if (!handle) return;
        auto planned = adapt::plan_in_memory(engine->engine->model, stack);
        if (!planned) return found.append(std::move(planned.error()));
        handle->engine = engine->engine;
        handle->plan = std::move(*planned);
        *plan = handle.release();
    });
}

void trlm_adapt_plan_free(trlm_adapt_plan* plan) {
    delete plan;
}

trlm_adapt_status trlm_adapt_apply(const trlm_adapt_plan* plan,
                                   const trlm_adapt_apply_options* options,
                                   trlm_adapt_applied** applied, trlm_adapt_findings** findings) {
    if (applied != nullptr) *applied = nullptr;
    return answer(findings, [&](Findings& found) {
        adapt::ApplyOptions how;
        if (!is_given(applied, "applied", found) || !is_given(plan, "plan", found) ||
            !read_apply_options(options, *plan->engine, how, found)) {
            return;
        }
        // Everything that can fail comes before the memory changes.
        auto handle = make_handle<trlm_adapt_applied>(found);
        if (!handle) return;
        auto now = adapt::apply_in_memory(plan->plan, how);
        if (!now) return found.append(std::move(now.error()));
        handle->engine = plan->engine;
        handle->applied = std::move(*now);
        *applied = handle.release();
        add_warnings(**applied, found);
    });
}

trlm_adapt_status trlm_adapt_undo(trlm_adapt_applied* applied, trlm_adapt_findings** findings) {
    return answer(findings, [&](Findings& found) {
        if (!is_given(applied, "applied", found)) return;
        auto undone = applied->applied->undo(applied->engine->executor);
        if (!undone) found.append(std::move(undone.error()));
    });
}

trlm_adapt_status trlm_adapt_swap(trlm_adapt_applied* applied, const trlm_adapt_plan* next,
                                  const trlm_adapt_apply_options* options,
                                  trlm_adapt_findings** findings) {
    return answer(findings, [&](Findings& found) {
        adapt::ApplyOptions how;
        if (!is_given(applied, "applied", found) || !is_given(next, "next", found) ||
            !read_apply_options(options, *next->engine, how, found)) {
            return;
        }
        auto swapped = applied->applied->swap(next->plan, how);
        if (!swapped) return found.append(std::move(swapped.error()));
        applied->engine = next->engine;
        add_warnings(*applied, found);
    });
}

trlm_adapt_status trlm_adapt_applied_get(const trlm_adapt_applied* applied,
                                         trlm_adapt_report* report) {
    if (applied == nullptr || report == nullptr) return TRLM_ADAPT_USAGE;
    const adapt::ApplyReport& last = applied->applied->report();
    trlm_adapt_report out{};
    out.state = applied->applied->state();
    out.kept_bytes = applied->applied->kept_bytes();
    out.kept = last.kept.value_or(0);
    out.has_kept = last.kept.has_value() ? 1 : 0;
    out.is_applied = applied->applied->is_applied() ? 1 : 0;
    out.zero_effect = last.zero_effect ? 1 : 0;
    out.tensor_count = static_cast<std::uint32_t>(last.tensors.size());
    return write_struct(out, report);
}

trlm_adapt_status trlm_adapt_applied_tensor(const trlm_adapt_applied* applied, size_t index,
                                            trlm_adapt_survival* survival) {
    if (applied == nullptr || survival == nullptr) return TRLM_ADAPT_USAGE;
    const adapt::ApplyReport& last = applied->applied->report();
    if (index >= last.tensors.size()) return TRLM_ADAPT_USAGE;
    const adapt::TensorSurvival& from = last.tensors[index];
    const auto snr_db = from.snr_db();
    trlm_adapt_survival out{};
    out.name = from.name.c_str();
    out.elements = from.elements;
    out.touched = from.touched;
    out.changed = from.changed;
    out.max_abs_delta = from.max_abs_delta;
    out.rms_delta = from.rms_delta();
    out.kept = from.kept();
    out.cosine = from.cosine();
    out.snr_db = snr_db.value_or(0);
    out.has_snr_db = snr_db.has_value() ? 1 : 0;
    return write_struct(out, survival);
}

void trlm_adapt_applied_free(trlm_adapt_applied* applied) {
    delete applied;
}
