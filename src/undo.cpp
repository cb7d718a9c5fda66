#include "trlm/adapt/undo.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "going_on.hpp"
#include "guard.hpp"
#include "package_rules.hpp"
#include "read_back.hpp"
#include "scan.hpp"
#include "trlm/adapt/checked.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/file.hpp"
#include "undo_format.hpp"

namespace trlm::adapt {
namespace {

namespace format = undo_format;
namespace header = undo_format::header;
using package_rules::all_zero;
using package_rules::number_text;
using package_rules::read_number;
using undo_format::Field;

/// Piece in which files go through memory, and in which what was gathered is written.
constexpr std::uint64_t piece_bytes = 1'048'576;

// ------------------------------------------------------------------------------ comparing bytes

/// How many bytes of both are the same from `at` on.
std::size_t count_same(Bytes a, Bytes b, std::size_t at, std::size_t end) noexcept {
    const std::size_t start = at;
    // Most bytes of most models stay as they are: eight at a time.
    while (end - at >= sizeof(std::uint64_t) &&
           std::memcmp(a.data() + at, b.data() + at, sizeof(std::uint64_t)) == 0) {
        at += sizeof(std::uint64_t);
    }
    while (at < end && a[at] == b[at])
        ++at;
    return at - start;
}

/// How many bytes differ from `at` on.
std::size_t count_changed(Bytes a, Bytes b, std::size_t at, std::size_t end) noexcept {
    const std::size_t start = at;
    while (at < end && a[at] != b[at])
        ++at;
    return at - start;
}

// ------------------------------------------------------------------------------- stored numbers

void append_number(std::vector<std::byte>& bytes, std::uint64_t number) {
    for (; number > format::group_mask; number >>= format::group_bits) {
        bytes.push_back(
            static_cast<std::byte>((number & format::group_mask) | format::more_groups));
    }
    bytes.push_back(static_cast<std::byte>(number));
}

enum class NumberDefect : std::uint8_t { none, cut, too_large, not_shortest };

/// A number of a run, as it stands in a file.
struct StoredNumber {
    std::uint64_t value = 0;
    std::uint64_t end = 0;  ///< offset behind it
    NumberDefect defect = NumberDefect::none;
};

StoredNumber read_stored_number(Bytes file, std::uint64_t offset) noexcept {
    StoredNumber number{.end = offset};
    for (std::uint64_t groups = 0; groups < format::longest_number; ++groups) {
        if (number.end == file.size()) {
            number.defect = NumberDefect::cut;
            return number;
        }
        const auto byte = std::to_integer<std::uint64_t>(file[number.end++]);
        const std::uint64_t group = byte & format::group_mask;
        const std::uint64_t shift = format::group_bits * groups;
        const bool loses_bits = group > std::numeric_limits<std::uint64_t>::max() >> shift;
        if (loses_bits) break;
        number.value |= group << shift;
        if ((byte & format::more_groups) != 0) continue;
        if (group == 0 && groups > 0) number.defect = NumberDefect::not_shortest;
        return number;
    }
    number.defect = NumberDefect::too_large;
    return number;
}

/// A run's two numbers and where its bytes lie.
struct StoredRun {
    StoredNumber gap;     ///< unchanged bytes since the end of the run before
    StoredNumber length;  ///< bytes of the run, which follow

    [[nodiscard]] bool readable() const noexcept {
        return gap.defect == NumberDefect::none && length.defect == NumberDefect::none;
    }
};

StoredRun read_stored_run(Bytes file, std::uint64_t offset) noexcept {
    StoredRun run;
    run.gap = read_stored_number(file, offset);
    if (run.gap.defect == NumberDefect::none) run.length = read_stored_number(file, run.gap.end);
    return run;
}

}  // namespace

void ChangedRuns::compare(Bytes before, Bytes after, std::vector<ChangedRun>& runs) {
    const std::size_t common = std::min(before.size(), after.size());
    for (std::size_t at = 0; at < common;) {
        const std::size_t same = count_same(before, after, at, common);
        pass_over(same, runs);
        at += same;
        const std::size_t changed = count_changed(before, after, at, common);
        take(changed, runs);
        at += changed;
    }
    take(before.size() - common, runs);
}

void ChangedRuns::finish(std::vector<ChangedRun>& runs) {
    if (open_ && run_.length > 0) runs.push_back(run_);
    open_ = false;
}

void ChangedRuns::pass_over(std::uint64_t unchanged, std::vector<ChangedRun>& runs) {
    position_ += unchanged;
    unchanged_ += unchanged;
    if (unchanged_ >= undo_shortest_gap) finish(runs);
}

void ChangedRuns::take(std::uint64_t changed, std::vector<ChangedRun>& runs) {
    if (changed == 0) return;
    if (!open_) {
        run_ = {.offset = position_};
        unchanged_ = 0;
        open_ = true;
    }
    run_.length += unchanged_ + changed;
    unchanged_ = 0;
    position_ += changed;
    while (run_.length >= undo_run_bytes) {
        runs.push_back({run_.offset, undo_run_bytes});
        run_.offset += undo_run_bytes;
        run_.length -= undo_run_bytes;
    }
}

// -------------------------------------------------------------------------------------- writing

struct UndoWriter::State {
    State(OutputFile output, Bytes base_bytes) : file(std::move(output)), base(base_bytes) {}

    OutputFile file;
    Bytes base;
    std::uint64_t output_length = 0;
    Sha256 base_sha;
    ChangedRuns runs;
    std::vector<ChangedRun> found;
    std::vector<std::byte> gathered;  // of the file, not written yet
    std::uint64_t file_length = 0;    // what is gathered included
    std::uint64_t run_count = 0;
    std::uint64_t restored_length = 0;
    std::uint64_t last_run_end = 0;

    [[nodiscard]] Status gather(Bytes bytes) {
        gathered.insert(gathered.end(), bytes.begin(), bytes.end());
        file_length += bytes.size();
        return gathered.size() < piece_bytes ? Status{} : write_gathered();
    }

    [[nodiscard]] Status write_gathered() {
        Status written = file.write(gathered);
        gathered.clear();
        return written;
    }

    [[nodiscard]] Status compare(Bytes before, Bytes after) {
        base_sha.update(before);
        runs.compare(before, after, found);
        return gather_found();
    }

    [[nodiscard]] Status gather_found() {
        std::vector<std::byte> numbers;
        for (const ChangedRun& run : found) {
            numbers.clear();
            append_number(numbers, run.offset - last_run_end);
            append_number(numbers, run.length);
            if (Status gathered_numbers = gather(numbers); !gathered_numbers) {
                return gathered_numbers;
            }
            if (Status bytes = gather(slice(base, run.offset, run.length)); !bytes) return bytes;
            last_run_end = run.offset + run.length;
            restored_length += run.length;
            ++run_count;
        }
        found.clear();
        return {};
    }

    /// What the base has behind the end of the output, and the last run.
    [[nodiscard]] Status finish_runs() {
        for (std::uint64_t at = output_length; at < base.size();) {
            const Bytes piece =
                slice(base, at, std::min<std::uint64_t>(piece_bytes, base.size() - at));
            if (Status compared = compare(piece, {}); !compared) return compared;
            at += piece.size();
        }
        runs.finish(found);
        if (Status last = gather_found(); !last) return last;
        return write_gathered();
    }

    [[nodiscard]] std::vector<std::byte> make_header(const Digest& output) {
        std::vector<std::byte> bytes(format::header_bytes);
        const MutableBytes to(bytes);
        std::ranges::copy(as_bytes(format::magic), to.begin());
        store(to, header::version.offset, format::version);
        store(to, header::header_length.offset, static_cast<std::uint32_t>(format::header_bytes));
        store<std::uint64_t>(to, header::base_length.offset, base.size());
        store(to, header::output_length.offset, output_length);
        store(to, header::base_digest.offset, base_sha.finish().bytes);
        store(to, header::output_digest.offset, output.bytes);
        store(to, header::run_count.offset, run_count);
        store(to, header::restored_length.offset, restored_length);
        store(to, header::file_length.offset, file_length);
        return bytes;
    }

    /// The checksum covers the header, which is known last.
    [[nodiscard]] Status seal() {
        Xxh3 hash;
        Status read = read_back(file, file_length, [&](Bytes piece) -> Status {
            hash.update(piece);
            return {};
        });
        if (!read) return read;
        std::array<std::byte, sizeof(std::uint64_t)> checksum{};
        store(MutableBytes(checksum), 0, hash.checksum());
        return file.write_at(header::checksum.offset, checksum);
    }

    [[nodiscard]] Result<Digest> digest() const {
        Sha256 sha;
        Status read = read_back(file, file_length, [&](Bytes piece) -> Status {
            sha.update(piece);
            return {};
        });
        if (!read) return failure(std::move(read).error());
        return sha.finish();
    }
};

UndoWriter::UndoWriter(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
UndoWriter::UndoWriter(UndoWriter&& other) noexcept = default;
UndoWriter& UndoWriter::operator=(UndoWriter&& other) noexcept = default;
UndoWriter::~UndoWriter() = default;

Result<UndoWriter> UndoWriter::create(const std::string& path, Bytes base) {
    return guarded([&]() -> Result<UndoWriter> {
        Result<OutputFile> file = OutputFile::create(path, 0);
        if (!file) return failure(std::move(file).error());
        auto state = std::make_unique<State>(std::move(*file), base);
        // The header's place; its content is known at the end.
        if (Status room = state->gather(std::vector<std::byte>(format::header_bytes)); !room) {
            return failure(std::move(room).error());
        }
        return UndoWriter(std::move(state));
    });
}

Status UndoWriter::add(Bytes output) {
    return guarded([&]() -> Status {
        State& state = *state_;
        const std::uint64_t at = std::min<std::uint64_t>(state.output_length, state.base.size());
        const std::uint64_t length = std::min<std::uint64_t>(output.size(), state.base.size() - at);
        state.output_length += output.size();
        return state.compare(slice(state.base, at, length), output);
    });
}

Result<UndoReport> UndoWriter::finish(const Digest& output) {
    return guarded([&]() -> Result<UndoReport> {
        State& state = *state_;
        if (Status runs = state.finish_runs(); !runs) return failure(std::move(runs).error());
        if (Status head = state.file.write_at(0, state.make_header(output)); !head) {
            return failure(std::move(head).error());
        }
        if (Status sealed = state.seal(); !sealed) return failure(std::move(sealed).error());
        Result<Digest> digest = state.digest();
        if (!digest) return failure(std::move(digest).error());
        return UndoReport{state.file_length, state.run_count, state.restored_length, *digest};
    });
}

Status UndoWriter::publish(bool replace) {
    return state_->file.commit(replace);
}

Status UndoWriter::publish_before(const OutputFile& output, bool replace) {
    return state_->file.commit_before(output, replace);
}

Status UndoWriter::withdraw() {
    return state_->file.withdraw();
}

// -------------------------------------------------------------------------------------- reading

/// Reads one undo file. Goes on after a defect with whatever does not depend on it.
class UndoReader {
public:
    UndoReader(Bytes file, const Progress& progress) : file_(file), progress_(progress) {
        undo_.bytes_ = file;
    }

    [[nodiscard]] Result<Undo> read() {
        if (!judge_start()) return failure(std::move(findings_));
        read_header();
        if (!judge_runs() || !judge_checksum()) return cancelled();
        if (findings_.has_errors()) return failure(std::move(findings_));
        return undo_;
    }

private:
    void add(Finding finding) { findings_.add(std::move(finding)); }

    [[nodiscard]] static tl::unexpected<Findings> cancelled() {
        return failure(reading_cancelled());
    }

    [[nodiscard]] std::uint64_t number(const Field& field) const noexcept {
        return read_number(file_, field);
    }

    // Magic, version and header length: a file that fails here is not read any further.
    bool judge_start() {
        if (file_.size() < format::magic.size()) return too_short();
        if (!as_text(file_).starts_with(format::magic)) {
            add({.code = FindingCode::bad_magic,
                 .message = "the file does not start with UND1, so it is not an undo file; check "
                            "which file was given",
                 .offset = 0,
                 .expected = std::string(format::magic),
                 .actual = to_hex(slice(file_, 0, format::magic.size()))});
            return false;
        }
        if (file_.size() < format::header_bytes) return too_short();
        return judge_fixed(header::version, format::version, FindingCode::unsupported_version,
                           "use a newer program") &&
               judge_fixed(header::header_length, format::header_bytes,
                           FindingCode::bad_header_length, "fetch the file again");
    }

    bool too_short() {
        add({.code = FindingCode::truncated,
             .message = fmt::format("the file has {} bytes, but an undo file's header alone has "
                                    "{}; fetch the file again",
                                    file_.size(), format::header_bytes),
             .offset = file_.size(),
             .expected = fmt::format("at least {}", format::header_bytes),
             .actual = number_text(file_.size())});
        return false;
    }

    bool judge_fixed(const Field& field, std::uint64_t expected, FindingCode code,
                     std::string_view remedy) {
        const std::uint64_t actual = number(field);
        if (actual == expected) return true;
        add({.code = code,
             .message = fmt::format("{} of the undo file is {}, but this program reads {}; {}",
                                    field.name, actual, expected, remedy),
             .offset = field.offset,
             .expected = number_text(expected),
             .actual = number_text(actual)});
        return false;
    }

    // --------------------------------------------------------------------------------- header

    void read_header() {
        undo_.base_length_ = number(header::base_length);
        undo_.output_length_ = number(header::output_length);
        undo_.base_digest_.bytes = load<decltype(Digest::bytes)>(file_, header::base_digest.offset);
        undo_.output_digest_.bytes =
            load<decltype(Digest::bytes)>(file_, header::output_digest.offset);
        undo_.run_count_ = number(header::run_count);
        undo_.restored_bytes_ = number(header::restored_length);
        undo_.checksum_ = number(header::checksum);
        judge_zeros();
        judge_not_empty(header::base_length);
        judge_not_empty(header::output_length);
        judge_length();
    }

    void judge_zeros() {
        for (const Field& field : format::zeros) {
            const Bytes bytes = slice(file_, field.offset, field.bytes);
            if (all_zero(bytes)) continue;
            add({.code = FindingCode::reserved_not_zero,
                 .message = fmt::format("{} of an undo file must be 0; apply the stack again to "
                                        "get another one",
                                        field.name),
                 .offset = field.offset,
                 .expected = "0",
                 .actual = to_hex(bytes)});
        }
    }

    void judge_not_empty(const Field& field) {
        if (number(field) > 0) return;
        add({.code = FindingCode::bad_value,
             .message = fmt::format("{} is 0, but no model is empty; apply the stack again to get "
                                    "another undo file",
                                    field.name),
             .offset = field.offset,
             .expected = "above 0",
             .actual = "0"});
    }

    void judge_length() {
        const std::uint64_t stated = number(header::file_length);
        length_right_ = stated == file_.size();
        cut_ = file_.size() < stated;
        if (length_right_) return;
        add({.code = cut_ ? FindingCode::truncated : FindingCode::trailing_bytes,
             .message = fmt::format("the file has {} bytes, but its header states {}; fetch the "
                                    "file again from its source",
                                    file_.size(), stated),
             .offset = cut_ ? file_.size() : stated,
             .expected = number_text(stated),
             .actual = number_text(file_.size())});
    }

    // ----------------------------------------------------------------------------------- runs

    // False when cancelled.
    bool judge_runs() {
        // Bytes behind the stated end are no runs.
        const std::uint64_t end = std::clamp<std::uint64_t>(number(header::file_length),
                                                            format::header_bytes, file_.size());
        const Bytes runs = file_.first(static_cast<std::size_t>(end));
        std::uint64_t offset = format::header_bytes;
        std::uint64_t told = 0;
        while (offset < runs.size()) {
            const std::optional<std::uint64_t> next = judge_run(runs, offset);
            if (!next) return true;  // where the next one starts is not known
            offset = *next;
            if (offset - told < piece_bytes) continue;
            told = offset;
            if (!goes_on(progress_, offset, file_.size())) return false;
        }
        if (!cut_) judge_sums();
        return true;
    }

    // Where the next run starts, when this one keeps every rule.
    std::optional<std::uint64_t> judge_run(Bytes runs, std::uint64_t offset) {
        const StoredRun run = read_stored_run(runs, offset);
        if (!run.readable()) {
            const bool in_gap = run.gap.defect != NumberDefect::none;
            number_finding(in_gap ? run.gap : run.length, in_gap ? offset : run.gap.end);
            return std::nullopt;
        }
        if (!judge_gap(run.gap.value, offset) || !judge_run_length(run)) return std::nullopt;
        if (!judge_place(run, offset)) return std::nullopt;
        if (!range_inside(run.length.end, run.length.value, runs.size())) {
            past_the_end(offset);
            return std::nullopt;
        }
        position_ += run.gap.value + run.length.value;
        restored_ += run.length.value;
        if (position_ > undo_.output_length_) {
            beyond_output_ += std::min(run.length.value, position_ - undo_.output_length_);
        }
        last_length_ = run.length.value;
        ++run_index_;
        return run.length.end + run.length.value;
    }

    void number_finding(const StoredNumber& number, std::uint64_t offset) {
        if (number.defect == NumberDefect::cut) return past_the_end(offset);
        const bool too_large = number.defect == NumberDefect::too_large;
        add({.code = too_large ? FindingCode::size_overflow : FindingCode::bad_value,
             .message = fmt::format(
                 "run {} holds a number {}; apply the stack again to get "
                 "another undo file",
                 run_index_,
                 too_large ? "of more than 64 bits" : "that is not written in its shortest form"),
             .offset = offset,
             .element = run_index_});
    }

    void past_the_end(std::uint64_t offset) {
        if (cut_) return;  // what `truncated` says
        add({.code = FindingCode::range_out_of_file,
             .message = fmt::format("run {} ends past the end of the undo file; apply the stack "
                                    "again to get another one",
                                    run_index_),
             .offset = offset,
             .element = run_index_});
    }

    bool judge_gap(std::uint64_t gap, std::uint64_t offset) {
        const bool continues = gap == 0 && last_length_ == undo_run_bytes;
        if (run_index_ == 0 || continues || gap >= undo_shortest_gap) return true;
        add({.code = FindingCode::bad_value,
             .message = fmt::format("run {} starts {} bytes behind the one before, which then "
                                    "would hold it; apply the stack again to get another undo file",
                                    run_index_, gap),
             .offset = offset,
             .element = run_index_,
             .expected = fmt::format("at least {}", undo_shortest_gap),
             .actual = number_text(gap)});
        return false;
    }

    bool judge_run_length(const StoredRun& run) {
        const std::uint64_t length = run.length.value;
        if (length >= 1 && length <= undo_run_bytes) return true;
        add({.code = FindingCode::bad_value,
             .message = fmt::format("run {} has {} bytes, but a run has 1 to {}; apply the stack "
                                    "again to get another undo file",
                                    run_index_, length, undo_run_bytes),
             .offset = run.gap.end,
             .element = run_index_,
             .expected = fmt::format("1 to {}", undo_run_bytes),
             .actual = number_text(length)});
        return false;
    }

    // Every run lies in the base.
    bool judge_place(const StoredRun& run, std::uint64_t offset) {
        const CheckedSize end = CheckedSize(position_) + run.gap.value + run.length.value;
        if (end.fits(undo_.base_length_)) return true;
        if (end.overflowed()) {
            add({.code = FindingCode::size_overflow,
                 .message = fmt::format("run {} ends at a place that 64 bits cannot count; apply "
                                        "the stack again to get another undo file",
                                        run_index_),
                 .offset = offset,
                 .element = run_index_});
        }
        add({.code = FindingCode::range_out_of_file,
             .message = fmt::format("run {} ends past the end of the base; apply the stack again "
                                    "to get another undo file",
                                    run_index_),
             .offset = offset,
             .element = run_index_,
             .expected = fmt::format("at most {}", undo_.base_length_),
             .actual = end.overflowed() ? "" : number_text(end.value())});
        return false;
    }

    // What only all runs together can say.
    void judge_sums() {
        judge_sum(header::run_count, FindingCode::count_mismatch, run_index_);
        judge_sum(header::restored_length, FindingCode::length_mismatch, restored_);
        const std::uint64_t missing = undo_.base_length_ > undo_.output_length_
                                          ? undo_.base_length_ - undo_.output_length_
                                          : 0;
        if (beyond_output_ == missing) return;
        add({.code = FindingCode::hole,
             .message = fmt::format("the base is longer than the output by {} bytes, of which the "
                                    "runs hold only {}; apply the stack again to get another undo "
                                    "file",
                                    missing, beyond_output_),
             .offset = header::base_length.offset,
             .expected = number_text(missing),
             .actual = number_text(beyond_output_)});
    }

    void judge_sum(const Field& field, FindingCode code, std::uint64_t expected) {
        const std::uint64_t actual = number(field);
        if (actual == expected) return;
        add({.code = code,
             .message = fmt::format("{} is {}, but the runs add up to {}; apply the stack again to "
                                    "get another undo file",
                                    field.name, actual, expected),
             .offset = field.offset,
             .expected = number_text(expected),
             .actual = number_text(actual)});
    }

    // False when cancelled.
    bool judge_checksum() {
        const ScanResult scan = scan_file(file_, header::checksum.offset, {}, 0, progress_);
        if (scan.cancelled) return false;
        const std::uint64_t computed = stored_checksum(scan.file_hash);
        if (length_right_ && computed != undo_.checksum_) {
            add(package_rules::checksum_differs(FindingCode::checksum_mismatch, "the file",
                                                header::checksum.offset, undo_.checksum_,
                                                computed));
        }
        return true;
    }

    Bytes file_;
    const Progress& progress_;
    Undo undo_;
    Findings findings_;
    bool length_right_ = false;  // the file is as long as its header states
    bool cut_ = false;           // or shorter
    std::uint64_t run_index_ = 0;
    std::uint64_t position_ = 0;     // in the base, behind the run before
    std::uint64_t last_length_ = 0;  // of the run before
    std::uint64_t restored_ = 0;
    std::uint64_t beyond_output_ = 0;  // of them, behind the end of the output
};

Result<Undo> read_undo(Bytes file, const Progress& progress) {
    return guarded([&]() -> Result<Undo> { return UndoReader(file, progress).read(); });
}

UndoRuns::UndoRuns(const Undo& undo) noexcept
    : file_(undo.bytes()), offset_(format::header_bytes) {}

std::optional<UndoRun> UndoRuns::next() noexcept {
    if (offset_ >= file_.size()) return std::nullopt;
    const StoredRun stored = read_stored_run(file_, offset_);
    const UndoRun run{.offset = position_ + stored.gap.value,
                      .old_bytes = slice(file_, stored.length.end, stored.length.value)};
    position_ = run.offset + run.old_bytes.size();
    offset_ = stored.length.end + run.old_bytes.size();
    return run;
}

// ------------------------------------------------------------------------------------ reverting

namespace {

/// The base's bytes in order: those of the output, with the runs put over them.
class BaseBytes {
public:
    explicit BaseBytes(const RevertInput& input)
        : output_(input.output), runs_(*input.undo), run_(runs_.next()) {}

    /// Fills `piece`, which starts where the one before ended.
    void read(MutableBytes piece) noexcept {
        const Bytes kept = output_.subspan(std::min<std::size_t>(position_, output_.size()));
        std::ranges::copy(kept.first(std::min(kept.size(), piece.size())), piece.begin());
        const std::uint64_t end = position_ + piece.size();
        while (run_ && run_->offset < end) {
            put(*run_, piece);
            if (run_->offset + run_->old_bytes.size() > end) break;  // goes on in the next piece
            run_ = runs_.next();
        }
        position_ = end;
    }

private:
    /// The part of a run that lies in the piece at `position_`.
    void put(const UndoRun& run, MutableBytes piece) const noexcept {
        const std::uint64_t begin = std::max(run.offset, position_);
        const std::uint64_t end =
            std::min<std::uint64_t>(run.offset + run.old_bytes.size(), position_ + piece.size());
        if (begin >= end) return;
        std::ranges::copy(slice(run.old_bytes, begin - run.offset, end - begin),
                          piece.begin() + static_cast<std::ptrdiff_t>(begin - position_));
    }

    Bytes output_;
    UndoRuns runs_;
    std::optional<UndoRun> run_;
    std::uint64_t position_ = 0;
};

/// Two findings: what shows that the undo file is for another model, and that it is.
Findings stale(const RevertInput& input, Finding evidence) {
    Findings findings;
    evidence.file = input.output_file;
    findings.add(std::move(evidence));
    findings.add({.code = FindingCode::undo_stale,
                  .message = "the undo file is for another model, or for this one before it was "
                             "changed; use the undo file of the last application, and undo in "
                             "reverse order",
                  .file = input.undo_file});
    return findings;
}

Finding other_digest(std::string message, const Digest& expected, const Digest& actual) {
    return {.code = FindingCode::digest_mismatch,
            .message = std::move(message),
            .expected = to_string(expected),
            .actual = to_string(actual)};
}

Status judge_size(const RevertInput& input) {
    const std::uint64_t expected = input.undo->output_length();
    if (input.output.size() == expected) return {};
    return failure(stale(input, {.code = FindingCode::size_mismatch,
                                 .message = fmt::format("the file has {} bytes, but the undo file "
                                                        "is for one of {}",
                                                        input.output.size(), expected),
                                 .expected = number_text(expected),
                                 .actual = number_text(input.output.size())}));
}

Status judge_digests(const RevertInput& input, const Digest& output, const Digest& base) {
    const Undo& undo = *input.undo;
    if (output != undo.output_digest()) {
        const std::string_view message =
            output == undo.base_digest() ? "the file is the base already; there is nothing to undo"
                                         : "the file is not the one that the undo file is for";
        return failure(
            stale(input, other_digest(std::string(message), undo.output_digest(), output)));
    }
    if (base == undo.base_digest()) return {};
    Finding finding = other_digest(
        "what the undo file restores is not the base that it names; apply the stack again to get "
        "another undo file",
        undo.base_digest(), base);
    finding.file = input.undo_file;
    return failure(std::move(finding));
}

Result<RevertReport> write_base(const RevertInput& input, OutputFile& file,
                                const Progress& progress) {
    const std::uint64_t base_length = input.undo->base_length();
    const std::uint64_t total = std::max<std::uint64_t>(input.output.size(), base_length);
    Sha256 output_sha;
    Sha256 base_sha;
    BaseBytes base(input);
    std::vector<std::byte> buffer(std::min(base_length, piece_bytes));
    for (std::uint64_t at = 0; at < total; at += piece_bytes) {
        const std::uint64_t end = std::min(total, at + piece_bytes);
        const auto part_of = [&](std::uint64_t length) {
            return std::min(end, length) - std::min(at, length);
        };
        // Each byte is hashed and used in one go: the file that was judged is the file that is
        // used.
        output_sha.update(slice(input.output, at, part_of(input.output.size())));
        const MutableBytes piece(buffer.data(), part_of(base_length));
        base.read(piece);
        base_sha.update(piece);
        if (Status written = file.write(piece); !written) {
            return failure(std::move(written).error());
        }
        if (!goes_on(progress, end, total)) {
            return failure({.code = FindingCode::output_failed,
                            .message = "cancelled before anything was published"});
        }
    }
    const Digest digest = base_sha.finish();
    if (Status right = judge_digests(input, output_sha.finish(), digest); !right) {
        return failure(std::move(right).error());
    }
    return RevertReport{base_length, digest};
}

}  // namespace

Result<RevertReport> revert_to_file(const RevertInput& input, const std::string& path, bool replace,
                                    const Progress& progress) {
    return guarded([&]() -> Result<RevertReport> {
        if (Status size = judge_size(input); !size) return failure(std::move(size).error());
        Result<OutputFile> file = OutputFile::create(path, input.undo->base_length());
        if (!file) return failure(std::move(file).error());
        Result<RevertReport> report = write_base(input, *file, progress);
        if (!report) return report;
        if (Status published = file->commit(replace); !published) {
            return failure(std::move(published).error());
        }
        return report;
    });
}

}  // namespace trlm::adapt
