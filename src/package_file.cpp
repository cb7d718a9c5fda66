#include "trlm/adapt/package_file.hpp"

#include <algorithm>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "fp_environment.hpp"
#include "going_on.hpp"
#include "guard.hpp"
#include "package_encode.hpp"
#include "package_rules.hpp"
#include "publish.hpp"
#include "read_back.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

namespace format = package_format;

/// The first value that is NaN or infinite, as a finding without a tensor.
void judge_finite(std::string_view what, std::span<const float> values, const PackageEntry& entry,
                  Findings& findings) {
    const auto bad = std::ranges::find_if_not(values, format::is_finite);
    if (bad == values.end()) return;
    const auto element = static_cast<std::uint64_t>(bad - values.begin());
    findings.add({.code = FindingCode::non_finite,
                  .message = fmt::format("value {} of {} is {}, but every value must be finite; "
                                         "make the adapter anew from finite weights",
                                         element, what, *bad),
                  .tensor = package_rules::label(entry),
                  .element = element,
                  .expected = "finite",
                  .actual = fmt::format("{}", *bad)});
}

/// What the reader would say of an entry whose spans are right.
struct ContentJudge {
    const PackageEntry& entry;
    std::size_t index;
    Findings& findings;

    void operator()(const DenseContent& delta) const {
        judge_finite("the delta", delta.values, entry, findings);
    }
    void operator()(const SparseContent& delta) const {
        judge_finite("the stored values", delta.values, entry, findings);
    }
    void operator()(const LowRankContent& delta) const {
        (void)package_rules::EntryJudge(PackageKind::low_rank, entry, index, findings)
            .judge_factors(true);
        judge_finite("A", delta.a, entry, findings);
        judge_finite("B", delta.b, entry, findings);
    }
};

}  // namespace

struct PackageFile::State {
    PackageHead head;
    OutputFile file;
    std::vector<std::byte> directory = {};
    std::vector<std::byte> payload = {};  // of one entry; reused
    std::uint64_t added = 0;
    std::uint64_t last_hash = 0;
    std::uint64_t position = 0;
    std::uint64_t stored = 0;
    std::uint64_t elements = 0;
    Xxh3 mask = {};

    [[nodiscard]] Status pad() {
        const std::vector<std::byte> zeros(align64(position).value() - position);
        position += zeros.size();
        return file.write(zeros);
    }

    [[nodiscard]] Status write_entry(const EntryContent& content);
    [[nodiscard]] Status write_front();
    template <class Take>
    [[nodiscard]] Status hand_back(const Progress& progress, const Take& take);
    [[nodiscard]] Result<std::uint64_t> seal(const Progress& progress);
    [[nodiscard]] tl::unexpected<Findings> wrong_count(std::uint64_t actual) const;
};

tl::unexpected<Findings> PackageFile::State::wrong_count(std::uint64_t actual) const {
    return failure({.code = FindingCode::count_mismatch,
                    .message = fmt::format("{} entries were added to a package that was to have {}",
                                           actual, head.entry_count),
                    .expected = fmt::format("{}", head.entry_count),
                    .actual = fmt::format("{}", actual)});
}

Status PackageFile::State::write_entry(const EntryContent& content) {
    if (added == head.entry_count) return wrong_count(added + 1);
    const std::size_t index = static_cast<std::size_t>(added);
    Findings findings;
    package_encode::Draft draft = package_encode::draft_entry(head.kind, content, index, findings);
    if (!findings.has_errors()) {
        std::visit(ContentJudge{draft.entry, index, findings}, content.delta);
    }
    if (added > 0 && content.name_hash <= last_hash) {
        findings.add({.code = FindingCode::directory_not_sorted,
                      .message = "the entry does not come after the one before it; add entries by "
                                 "ascending name hash",
                      .tensor = package_rules::label(draft.entry)});
    }
    if (findings.has_errors()) return failure(std::move(findings));

    PackageEntry& entry = draft.entry;
    if (Status padded = pad(); !padded) return padded;
    entry.payload_offset = position;
    entry.payload_length = format::payload_parts(head.kind, entry).bytes().value();
    payload.assign(static_cast<std::size_t>(entry.payload_length), std::byte{});
    package_encode::encode_payload(draft, head.kind, payload, mask);
    entry.payload_checksum = checksum_of(payload);
    package_encode::encode_entry(
        entry, head.kind,
        MutableBytes(directory).subspan(index * format::entry_bytes, format::entry_bytes));
    position += entry.payload_length;
    stored += entry.count;
    elements += draft.elements;
    last_hash = content.name_hash;
    ++added;
    return file.write(payload);
}

Status PackageFile::State::write_front() {
    std::vector<std::byte> front(static_cast<std::size_t>(format::entry_offset(head.entry_count)));
    package_encode::encode_header({.kind = head.kind,
                                   .identity = head.identity,
                                   .entry_count = head.entry_count,
                                   .metadata_length = head.metadata.size(),
                                   .file_length = position,
                                   .mask_method = head.mask_method,
                                   .mask_seed = head.mask_seed,
                                   .mask_checksum = mask.checksum(),
                                   .stored = stored,
                                   .elements = elements,
                                   .source_kind = head.source_kind,
                                   .source_hash = head.source_hash},
                                  front);
    std::ranges::copy(directory, front.begin() + std::ptrdiff_t{format::header_bytes});
    const Bytes metadata = as_bytes(head.metadata);
    front.insert(front.end(), metadata.begin(), metadata.end());
    return file.write_at(0, front);
}

/// Hands over all that was written.
template <class Take>
Status PackageFile::State::hand_back(const Progress& progress, const Take& take) {
    return read_back(file, position, [&](Bytes piece) -> Status {
        take(piece);
        if (!goes_on(progress, position, position)) {
            return failure(cancelled_before_publishing());
        }
        return {};
    });
}

/// Writes the checksum of everything, which counts itself as zero.
Result<std::uint64_t> PackageFile::State::seal(const Progress& progress) {
    Xxh3 hash;
    Status read = hand_back(progress, [&](Bytes piece) { hash.update(piece); });
    if (!read) return failure(std::move(read.error()));
    std::array<std::byte, sizeof(std::uint64_t)> checksum{};
    store(MutableBytes(checksum), 0, hash.checksum());
    Status sealed = file.write_at(format::header::checksum.offset, checksum);
    if (!sealed) return failure(std::move(sealed.error()));
    return hash.checksum();
}

PackageFile::PackageFile(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
PackageFile::PackageFile(PackageFile&& other) noexcept = default;
PackageFile& PackageFile::operator=(PackageFile&& other) noexcept = default;
PackageFile::~PackageFile() = default;

Result<PackageFile> PackageFile::create(const std::string& path, PackageHead head) {
    return guarded([&]() -> Result<PackageFile> {
        if (head.entry_count == 0 || head.entry_count > limits::tensors) {
            return failure({.code = head.entry_count == 0 ? FindingCode::bad_value
                                                          : FindingCode::limit_exceeded,
                            .message = fmt::format("a package has 1 to {} entries, not {}",
                                                   limits::tensors, head.entry_count),
                            .expected = fmt::format("1 to {}", limits::tensors),
                            .actual = fmt::format("{}", head.entry_count)});
        }
        auto file = OutputFile::create(path, 0);
        if (!file) return failure(std::move(file.error()));
        const std::uint64_t front =
            package_encode::payload_offset(head.entry_count, head.metadata.size()).value();
        auto state = std::make_unique<State>(State{std::move(head), std::move(*file)});
        state->directory.resize(
            static_cast<std::size_t>(state->head.entry_count * format::entry_bytes));
        // Room for what is known at the end.
        const std::vector<std::byte> zeros(static_cast<std::size_t>(front));
        if (Status written = state->file.write(zeros); !written) {
            return failure(std::move(written.error()));
        }
        state->position = front;
        return PackageFile(std::move(state));
    });
}

Status PackageFile::add(const EntryContent& entry) {
    return guarded([&] {
        const FpEnvironment environment;
        return state_->write_entry(entry);
    });
}

Result<WrittenPackage> PackageFile::finish(const Progress& progress) {
    return guarded([&]() -> Result<WrittenPackage> {
        const FpEnvironment environment;
        State& state = *state_;
        if (state.added != state.head.entry_count) return state.wrong_count(state.added);
        if (Status front = state.write_front(); !front) return failure(std::move(front.error()));
        const auto checksum = state.seal(progress);
        if (!checksum) return failure(checksum.error());
        // What the entries do not tell, metadata above all, is the reader's to judge.
        const auto mapped = state.file.map();
        if (!mapped) return failure(mapped.error());
        if (auto package = read_package(mapped->bytes(), ReadDepth::headers); !package) {
            return failure(std::move(package.error()));
        }
        Sha256 sha;
        Status read = state.hand_back(progress, [&](Bytes piece) { sha.update(piece); });
        if (!read) return failure(std::move(read.error()));
        return WrittenPackage{state.position, *checksum, sha.finish()};
    });
}

Result<MappedFile> PackageFile::map() const {
    return state_->file.map();
}

Status PackageFile::commit(bool replace) {
    return state_->file.commit(replace);
}

Status PackageFile::commit_before(const PackageFile& last, bool replace) {
    return state_->file.commit_before(last.state_->file, replace);
}

Status PackageFile::withdraw() {
    return state_->file.withdraw();
}

}  // namespace trlm::adapt
