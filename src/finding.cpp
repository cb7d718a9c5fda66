#include "trlm/adapt/finding.hpp"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "quietly.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {

namespace {

using Code = FindingCode;

// One row for each code, in the order of the enum. docs/findings.md repeats these texts, and
// tests/docs/check_docs.py compares the two.
constexpr FindingInfo rows[] = {
    // ------------------------------------------------------------------------------- invalid
    {Code::truncated, "truncated", FindingClass::invalid,
     "The file is shorter than its fixed header, or than the length that its header states.",
     "A download or copy that stopped early, or a disk that was full.",
     "Fetch or copy the file again, and compare its size with the source."},
    {Code::trailing_bytes, "trailing_bytes", FindingClass::invalid,
     "There are bytes after the last byte that belongs to the file.",
     "Something was appended, or a longer file was overwritten in place by a shorter one.",
     "Fetch the original file again; do not cut the extra bytes off by hand."},
    {Code::bad_magic, "bad_magic", FindingClass::invalid,
     "The first four bytes are not SLM1, ADP1, ASP1, ALR1 or UND1, or not the one wanted here.",
     "Another kind of file was given, such as a safetensors or GGUF file, or a swapped argument.",
     "Check the order of the arguments and the file's origin; a name's ending does not matter."},
    {Code::bad_header_length, "bad_header_length", FindingClass::invalid,
     "The header states a length that no header of this format has.",
     "A damaged header, or a writer that follows another version of the format.",
     "Fetch the file again; if that gives the same, write it anew with the current tools."},
    {Code::reserved_not_zero, "reserved_not_zero", FindingClass::invalid,
     "A field whose only legal value is zero holds something else.",
     "A writer that left memory uninitialized, or hidden data.",
     "Write the file anew; nothing in a reserved field is read."},
    {Code::bad_value, "bad_value", FindingClass::invalid,
     "A field holds a value that its rule excludes.",
     "A defect in the writer, or a document edited by hand.",
     "Compare the field with its rule in docs/formats.md and write the file anew."},
    {Code::offset_not_canonical, "offset_not_canonical", FindingClass::invalid,
     "A package's offset or length is not the one that its content demands.",
     "A writer that lays sections out in its own way; a package has exactly one layout.",
     "Write the package anew with the rules of docs/formats.md, section 3."},
    {Code::range_out_of_file, "range_out_of_file", FindingClass::invalid,
     "An offset and length, of a model or an undo file, point past the end of the file.",
     "A file that was cut short, or a directory that was not updated with the payloads.",
     "Fetch the file again; if that gives the same, write it anew."},
    {Code::misaligned, "misaligned", FindingClass::invalid,
     "An offset is not a multiple of the alignment that it needs (64, for scales 4).",
     "A writer that packs sections without padding.",
     "Write the model anew with aligned sections."},
    {Code::overlap, "overlap", FindingClass::invalid, "Two regions of a model share bytes.",
     "Offsets that were computed wrongly, or a file made to mislead a reader.",
     "Do not use the file; write it anew from its source."},
    {Code::hole, "hole", FindingClass::invalid,
     "64 bytes or more of a model belong to no region, or an undo file leaves a part of the base "
     "out.",
     "A tensor was removed from the directory while its payload stayed.",
     "Write the model anew, so that every byte belongs to something."},
    {Code::padding_not_zero, "padding_not_zero", FindingClass::invalid,
     "A byte between two sections, or after the last, is not zero.",
     "A writer that left memory uninitialized, or hidden data.",
     "Write the file anew with zero padding."},
    {Code::size_overflow, "size_overflow", FindingClass::invalid,
     "A sum or product of sizes does not fit in 64 bits.",
     "A damaged size field, or a file made to crash readers.",
     "Do not use the file; fetch it again from a source that you trust."},
    {Code::length_mismatch, "length_mismatch", FindingClass::invalid,
     "A length in bytes contradicts the data type, shape or count beside it.",
     "A payload stored in another type than its entry says, or values of another shape.",
     "Correct the entry or the data in the program that wrote it."},
    {Code::limit_exceeded, "limit_exceeded", FindingClass::invalid,
     "A count or size is past a limit of this implementation.",
     "A file larger than the formats are meant for, or a damaged count.",
     "Run `trlm-adapt limits` to see every limit; split or shrink the input."},
    {Code::bad_rank, "bad_rank", FindingClass::invalid,
     "A tensor has fewer than 1 or more than 4 dimensions.",
     "A damaged directory entry, or a scalar that was exported as a tensor.",
     "Reshape the tensor to 1 to 4 dimensions and write the file anew."},
    {Code::bad_dim, "bad_dim", FindingClass::invalid,
     "A dimension is zero or above 2147483647, or an unused one is not 1 (SLM1: 0 or 1).",
     "An empty tensor, a damaged entry, or a writer that leaves unused dimensions unset.",
     "Leave empty tensors out, set unused dimensions to 1, and write the file anew."},
    {Code::bad_block_size, "bad_block_size", FindingClass::invalid,
     "A tensor's block size does not fit its data type and columns.",
     "A q4_0 block size that is odd or does not divide the columns, or blocks as ggml has them.",
     "Use 0 for f32, the columns for q8_0, and an even divisor of the columns for q4_0."},
    {Code::bad_scale, "bad_scale", FindingClass::invalid,
     "A quantization scale is not finite, not above zero, or so large that a code decodes to "
     "infinity.",
     "Quantizing values that were NaN or infinite, or a row of zeros stored with scale 0.",
     "Find the first bad scale with the numbers given, repair its source, and quantize again."},
    {Code::non_finite, "non_finite", FindingClass::invalid,
     "A stored f32 value is NaN or infinite.",
     "Training that diverged, an f16 overflow, or dividing by a zero norm.",
     "Take an earlier checkpoint; a non-finite weight ruins every output that it reaches."},
    {Code::duplicate_tensor, "duplicate_tensor", FindingClass::invalid,
     "A model's directory holds the same name hash twice.",
     "Two exports were joined without removing what they share.",
     "Keep one of the two and write the model anew."},
    {Code::missing_tensor, "missing_tensor", FindingClass::invalid,
     "A tensor that the model's header demands is not in its directory.",
     "A wrong layer count or tied-output flag, or a tensor under another name.",
     "Compare header and names with the tensor list in docs/formats.md, section 1."},
    {Code::unexpected_tensor, "unexpected_tensor", FindingClass::invalid,
     "A model's directory holds a tensor that its header leaves no place for.",
     "A bias or buffer that was exported too, or output.weight beside the tied-output flag.",
     "Leave the tensor out, or correct the header's layer count or flag."},
    {Code::shape_mismatch, "shape_mismatch", FindingClass::invalid,
     "A model's tensor has another shape than its header demands.",
     "A transposed matrix, or header numbers of another model.",
     "Transpose the tensor or correct the header, then write the model anew."},
    {Code::directory_not_sorted, "directory_not_sorted", FindingClass::invalid,
     "A package's entries are not in strictly ascending order of their name hash.",
     "A writer that keeps its own order, or a tensor that stands twice.",
     "Sort the entries by hash, keep one per tensor, and write the package anew."},
    {Code::tokenizer_malformed, "tokenizer_malformed", FindingClass::invalid,
     "The tokenizer section breaks a rule, or disagrees with the model's header.",
     "A vocabulary of another model, or a merge whose parts or result have no token.",
     "Export the tokenizer again from the model's own source."},
    {Code::count_mismatch, "count_mismatch", FindingClass::invalid,
     "A stated count is not that of the set bits in a bitmask, or of the runs in an undo file.",
     "A mask or a count that was changed without the other, or a defect in the writer.",
     "Write the file anew: the package from its dense delta, the undo file by applying again."},
    {Code::index_out_of_range, "index_out_of_range", FindingClass::invalid,
     "A sparse index is not below the tensor's number of elements.",
     "Indexes made for a tensor of another shape.",
     "Make the package anew for this model's shapes."},
    {Code::index_not_ascending, "index_not_ascending", FindingClass::invalid,
     "A sparse index is not above the one before it.",
     "An unsorted index list, or the same element twice.",
     "Sort the indexes, join duplicates, and write the package anew."},
    {Code::mask_bits_past_end, "mask_bits_past_end", FindingClass::invalid,
     "A bitmask has set bits after the tensor's last element.",
     "A writer that leaves the last byte's unused bits unset, or a mask of a larger tensor.",
     "Clear the unused bits and write the package anew."},
    {Code::retention_mismatch, "retention_mismatch", FindingClass::invalid,
     "The stated retention is not the stored elements divided by all elements.",
     "A retention copied from the wish of the user, or computed in another order.",
     "Write the package anew; docs/formats.md, section 3, gives the exact rounding."},
    {Code::bad_low_rank, "bad_low_rank", FindingClass::invalid,
     "A low-rank entry's tensor is not a matrix, or its rank or scale is out of bounds.",
     "A rank above the matrix's sides, an alpha of 0, NaN or infinity, or an adapted 1-d tensor.",
     "Give a matrix, a rank from 1 to min(rows, columns, 4096), and a finite nonzero scale."},
    {Code::bad_metadata, "bad_metadata", FindingClass::invalid,
     "A package's metadata is not the JSON object that the format allows.",
     "Broken JSON, a key that stands twice, or tensor names that do not hash to the directory's.",
     "Correct the metadata text and write the package anew."},
    {Code::bad_json, "bad_json", FindingClass::invalid, "A document is not one strict JSON object.",
     "A trailing comma, a comment, a byte order mark, or text after the closing brace.",
     "Correct the document at the position given."},
    {Code::duplicate_key, "duplicate_key", FindingClass::invalid,
     "A JSON object holds the same key twice.",
     "A document edited or joined by hand; readers would disagree on which value counts.",
     "Keep one of the two."},
    {Code::unknown_key, "unknown_key", FindingClass::invalid,
     "A document holds a key that its schema does not know.",
     "A misspelt key, or a document of a later version.",
     "Correct or remove the key; free text belongs in the fields made for it."},
    {Code::missing_key, "missing_key", FindingClass::invalid,
     "A document lacks a key that its schema demands.",
     "A document written by hand or by an earlier version.",
     "Add the key, or have the tool write the document anew."},
    {Code::path_escape, "path_escape", FindingClass::invalid,
     "A document names a path that is not a plain relative path to a regular file.",
     "An absolute path, `..`, a symbolic link, or a character outside letters, digits, dot, "
     "underscore and dash.",
     "Put the file beneath the document's folder and name it by its relative path."},
    {Code::path_collision, "path_collision", FindingClass::invalid,
     "Two paths of a bundle name the same file, or differ only in upper and lower case.",
     "Files that were gathered from several folders.",
     "Rename one of them; such a bundle means different things on different systems."},
    {Code::duplicate_id, "duplicate_id", FindingClass::invalid,
     "Two items of a document have the same id.", "A block that was copied and not renamed.",
     "Give each item an id of its own."},
    {Code::dependency_unknown, "dependency_unknown", FindingClass::invalid,
     "A module depends on an id that the plan does not hold.",
     "A misspelt id, or a module that was removed.",
     "Correct the id, or add the module to the plan."},
    {Code::dependency_cycle, "dependency_cycle", FindingClass::invalid,
     "Modules of a plan depend on each other in a circle.",
     "A dependency that was added in the wrong direction.",
     "Remove one dependency of the circle that the message names."},
    {Code::phase_order, "phase_order", FindingClass::invalid,
     "A module is in the wrong phase, or depends on one of a later phase.",
     "Phases assigned by hand.", "Follow the order sidecars, model, evidence, stack."},
    {Code::slot_conflict, "slot_conflict", FindingClass::invalid,
     "A plan's slots are not one `base` and `stack/0`, `stack/1` and so on, each once.",
     "A stack that was reordered without its slots.",
     "Number the slots again in the order of the preferred stack."},
    {Code::unplanned_file, "unplanned_file", FindingClass::invalid,
     "A document names a file that the module plan does not list with the same size and digest.",
     "A file that was added or replaced after the plan was made.", "Make the module plan anew."},
    {Code::unused_module, "unused_module", FindingClass::invalid,
     "The module plan lists a file that no document names.",
     "A file that was taken out of a family or receipt but not out of the plan.",
     "Remove the module from the plan, or name it where it belongs."},
    {Code::bad_view, "bad_view", FindingClass::invalid,
     "A program described a tensor in memory by numbers that contradict each other.",
     "A span of the wrong size, or a shape, type or block size that does not fit it.",
     "Correct the call; the message names the tensor and both numbers."},
    // --------------------------------------------------------------------------------- drift
    {Code::checksum_mismatch, "checksum_mismatch", FindingClass::drift,
     "The file's bytes do not give the checksum in its own header.",
     "The file changed after it was written: damage in transit, a bad disk, or an edit.",
     "Fetch the file again; any other finding about it may be a consequence of the damage."},
    {Code::payload_checksum_mismatch, "payload_checksum_mismatch", FindingClass::drift,
     "One tensor's payload does not give the checksum in its directory entry.",
     "The payload changed after it was written, or the entry belongs to another one.",
     "Fetch the file again; the tensor that is named is the one that differs."},
    {Code::mask_checksum_mismatch, "mask_checksum_mismatch", FindingClass::drift,
     "A sparse package's index sections do not give the mask checksum in its header.",
     "The choice of elements changed after the header was written.",
     "Fetch the file again, or make the package anew."},
    {Code::digest_mismatch, "digest_mismatch", FindingClass::drift,
     "A file's digest is not the one that a document or option states.",
     "Another version of the file lies at this path, or it was changed.",
     "Get the file that the document means; make the document anew only if the change was meant."},
    {Code::size_mismatch, "size_mismatch", FindingClass::drift,
     "A file's size is not the one that a document states.",
     "Another version of the file, or one that was cut short.",
     "Get the file that the document means; its content was not read."},
    {Code::value_drift, "value_drift", FindingClass::drift,
     "A value in a document differs from the one computed from the files.",
     "The document was written for other files, or edited.",
     "Have the tool write the document anew, and look at what changed."},
    {Code::link_mismatch, "link_mismatch", FindingClass::drift,
     "Two documents disagree about the same thing.", "One of them was replaced without the other.",
     "Take both from the same release."},
    {Code::ledger_broken, "ledger_broken", FindingClass::drift,
     "A line of the ledger does not follow from the line before it.",
     "A line was removed, moved or edited.",
     "Restore the ledger from a copy; its chain cannot be repaired honestly."},
    {Code::replay_differs, "replay_differs", FindingClass::drift,
     "Applying again from the receipt gave another result than the receipt states.",
     "A receipt edited by hand, or written by another arithmetic.",
     "Compare tool and arithmetic in the receipt with yours; equal inputs give equal bytes."},
    {Code::undo_stale, "undo_stale", FindingClass::drift,
     "The undo file does not belong to this model file.",
     "The model was changed after the undo file was written, or another one was given.",
     "Use the undo file of the last application, and undo in reverse order."},
    // -------------------------------------------------------------------------- incompatible
    {Code::flags_differ, "flags_differ", FindingClass::incompatible,
     "The adapter was made for a model with other flags (tied or untied output).",
     "An adapter of another model.",
     "Use the model that the adapter was made for; `trlm-adapt inspect` shows both identities."},
    {Code::tensor_count_differs, "tensor_count_differs", FindingClass::incompatible,
     "The adapter was made for a model with another number of tensors.",
     "An adapter of a model with more or fewer layers.",
     "Use the model that the adapter was made for; `trlm-adapt inspect` shows both identities."},
    {Code::parameter_count_differs, "parameter_count_differs", FindingClass::incompatible,
     "The adapter was made for a model with another number of parameters.",
     "An adapter of a smaller or larger model of the same family.",
     "Use the model that the adapter was made for; `trlm-adapt inspect` shows both identities."},
    {Code::layout_differs, "layout_differs", FindingClass::incompatible,
     "The names and shapes of the model's tensors are not those that the adapter was made for.",
     "An adapter of another architecture or size.",
     "Use the model that the adapter was made for; its storage (f32, q8_0, q4_0) does not matter."},
    {Code::tokenizer_differs, "tokenizer_differs", FindingClass::incompatible,
     "The adapter was made for a model with another tokenizer.",
     "The same architecture trained with another vocabulary.",
     "Use the model with the adapter's own tokenizer; token ids would mean other text."},
    {Code::tensor_unknown, "tensor_unknown", FindingClass::incompatible,
     "The adapter changes a tensor that the model does not have.",
     "A tensor under another name, or an adapter of another model.",
     "Make the adapter anew with the model's tensor names; nothing is skipped silently."},
    {Code::tensor_shape_differs, "tensor_shape_differs", FindingClass::incompatible,
     "The adapter's tensor has another shape than the model's tensor of that name.",
     "An adapter of a model of another size, or a transposed matrix.",
     "Make the adapter anew for this model."},
    {Code::fused_non_finite, "fused_non_finite", FindingClass::incompatible,
     "Base plus adapters would give a value or scale that is infinite, NaN or out of bounds.",
     "A strength that is far too large, or a delta with huge values.",
     "Lower the strength, or leave out the adapter; the model was not changed."},
    {Code::base_not_listed, "base_not_listed", FindingClass::incompatible,
     "The adapter's manifest does not list this model among its bases.",
     "An adapter that was released for other files of the same shape.",
     "Use a listed model, or have the adapter's author list this one."},
    // -------------------------------------------------------------------------------- policy
    {Code::budget_exceeded, "budget_exceeded", FindingClass::policy,
     "A size or count is past a budget that the registry or plan sets.",
     "A larger model or more adapters than were planned for.",
     "Shrink the files, or raise the budget on purpose."},
    {Code::survival_below_threshold, "survival_below_threshold", FindingClass::policy,
     "Less of the intended change arrived in the stored weights than --min-survival demands; as "
     "a warning, less than half of it, or with more noise than change.",
     "A weak adapter on coarse quantization with nearest rounding.",
     "Use adaptive rounding, promote what is touched with --output-dtype, or keep the adapter in "
     "its own file beside the model."},
    {Code::zero_effect, "zero_effect", FindingClass::policy,
     "The stack fits, but applying it changes no stored byte.",
     "An adapter that is all zeros, or deltas that rounding to quantized weights loses entirely.",
     "Use adaptive or stochastic rounding or a higher strength, or pass --allow-no-effect."},
    {Code::not_admitted, "not_admitted", FindingClass::policy,
     "The registry does not admit this entry.", "A model that is pending review or was rejected.",
     "Choose an admitted entry, or complete the review."},
    {Code::weak_digest, "weak_digest", FindingClass::policy,
     "A document names a file by a digest that only detects accidents (xxh3-128).",
     "A bundle made for speed, without protection against deliberate change.",
     "Use sha256 digests, or allow weak ones where every file is trusted."},
    {Code::eval_failed, "eval_failed", FindingClass::policy,
     "The evaluation record reports failures, no cases, or another set of cases.",
     "A model that did not pass its evaluation, or a record of another run.",
     "Look into the failures and evaluate again before release."},
    {Code::strength_out_of_range, "strength_out_of_range", FindingClass::policy,
     "A strength is outside the range that the adapter's manifest allows.",
     "A stack tuned by trial, beyond what the adapter was tested for.",
     "Choose a strength inside the range, or test the adapter and widen it."},
    {Code::already_applied, "already_applied", FindingClass::policy,
     "The base is the recorded output of a stack that holds the same package.",
     "The adapted model was given where the original was meant.",
     "Apply to the original base; go on only if applying twice is what you want."},
    {Code::unlisted_file, "unlisted_file", FindingClass::policy,
     "The bundle's folder holds a file that no entry leads to.",
     "A leftover of an earlier version, or a file put there by mistake.",
     "Remove the file; it was not opened."},
    // -------------------------------------------------------------------------- cannot-check
    {Code::file_missing, "file_missing", FindingClass::cannot_check,
     "There is no file at this path, or no adapter package in this folder.",
     "A misspelt path, or a file that was not downloaded.",
     "Check the path and the current folder."},
    {Code::file_unreadable, "file_unreadable", FindingClass::cannot_check,
     "The path exists but cannot be read as a regular file.",
     "A folder given as a model, missing permission, a device, a disk error, or a file that was "
     "written to while it was read.",
     "Give a regular file that you may read, and that nobody writes to meanwhile."},
    {Code::checksum_unverifiable, "checksum_unverifiable", FindingClass::cannot_check,
     "The model's checksum is of a kind whose algorithm is not public, so damage would not show.",
     "A file of the original TinyRustLM writer, whose header names no checksum kind.",
     "Verify the file by other means, then pass --accept-foreign-checksum."},
    {Code::unsupported_version, "unsupported_version", FindingClass::cannot_check,
     "The file states a format version that this program does not know.",
     "A file of a later writer, or a damaged version field.",
     "Update trlm-adapt, or write the file in version 1."},
    {Code::unsupported_dtype, "unsupported_dtype", FindingClass::cannot_check,
     "A tensor is stored in a type other than f32, q8_0 and q4_0.",
     "A file of a later writer, or a damaged directory entry.",
     "Write the model anew with a supported type."},
    {Code::schema_unsupported, "schema_unsupported", FindingClass::cannot_check,
     "A document names a schema that this program does not know.",
     "A document of a later version, or the wrong kind of document.",
     "Update trlm-adapt, or give the kind of document that belongs here."},
    {Code::unsupported_source, "unsupported_source", FindingClass::cannot_check,
     "A file of another program holds something that cannot be converted.",
     "An architecture, tensor type or adapter option without a counterpart here.",
     "Export it in a supported form; the message names what is not supported."},
    {Code::output_failed, "output_failed", FindingClass::cannot_check,
     "The result could not be written, or the work was cancelled.",
     "A full disk, a missing or protected folder, or an interrupt.",
     "Make room or choose another folder, and run again; no partial file was left."},
    {Code::out_of_memory, "out_of_memory", FindingClass::cannot_check,
     "There is not enough memory to go on.", "A memory limit, or many programs at once.",
     "Free memory or use fewer threads, and run again."},
    {Code::executor_failed, "executor_failed", FindingClass::cannot_check,
     "The program that lent its threads did not run every task.",
     "An engine's thread pool that was shut down or drops work.",
     "Correct the executor: each task has to run exactly once before the call returns."},
    // --------------------------------------------------------------------------------- usage
    {Code::usage_error, "usage_error", FindingClass::usage,
     "The command line or call itself is wrong, so no work was begun.",
     "A misspelt option or name, a strength of zero, or an output that exists already.",
     "Read the message and `trlm-adapt COMMAND --help`."},
};

constexpr bool rows_follow_the_enum() {
    for (std::size_t i = 0; i < std::size(rows); ++i) {
        if (static_cast<std::size_t>(rows[i].code) != i) return false;
    }
    return std::size(rows) == finding_code_count;
}
static_assert(rows_follow_the_enum(), "row i must explain code i, so that finding_info can index");

constexpr std::uint8_t bit_of(FindingClass finding_class) noexcept {
    return static_cast<std::uint8_t>(1U << static_cast<unsigned>(finding_class));
}

}  // namespace

const FindingInfo& finding_info(FindingCode code) noexcept {
    return rows[static_cast<std::size_t>(code)];
}

std::span<const FindingInfo> all_finding_infos() noexcept {
    return rows;
}

std::optional<FindingCode> find_finding_code(std::string_view name) noexcept {
    const auto* const row =
        std::find_if(std::begin(rows), std::end(rows),
                     [&](const FindingInfo& info) { return info.name == name; });
    if (row == std::end(rows)) return std::nullopt;
    return row->code;
}

std::string_view to_string(FindingClass finding_class) noexcept {
    switch (finding_class) {
        case FindingClass::drift:
            return "drift";
        case FindingClass::invalid:
            return "invalid";
        case FindingClass::incompatible:
            return "incompatible";
        case FindingClass::policy:
            return "policy";
        case FindingClass::cannot_check:
            return "cannot-check";
        case FindingClass::usage:
            return "usage";
    }
    return "";
}

std::string_view to_string(Severity severity) noexcept {
    return severity == Severity::error ? "error" : "warning";
}

void Findings::add(Finding finding) {
    if (finding.severity == Severity::error) {
        error_classes_ |= bit_of(finding_info(finding.code).finding_class);
    }
    // Where there is no memory for it either, it still counts.
    if (full() || !quietly([&] { findings_.push_back(std::move(finding)); })) ++dropped_;
}

void Findings::append(Findings other) {
    for (Finding& finding : other.findings_)
        add(std::move(finding));
    dropped_ += other.dropped_;
    // The classes of those that `other` dropped.
    error_classes_ |= other.error_classes_;
}

void Findings::set_file(std::string_view file) {
    for (Finding& finding : findings_) {
        if (finding.file.empty()) finding.file = file;
    }
}

bool Findings::full() const noexcept {
    return findings_.size() >= limits::findings;
}

bool Findings::contains(FindingCode code) const noexcept {
    return std::any_of(findings_.begin(), findings_.end(),
                       [code](const Finding& finding) { return finding.code == code; });
}

ExitCode Findings::exit_code() const noexcept {
    // The classes are declared in the order in which they decide.
    constexpr ExitCode exit_codes[] = {ExitCode::drift,        ExitCode::invalid,
                                       ExitCode::incompatible, ExitCode::policy,
                                       ExitCode::cannot_check, ExitCode::usage};
    if (error_classes_ == 0) return ExitCode::ok;
    return exit_codes[std::countr_zero(error_classes_)];
}

}  // namespace trlm::adapt
