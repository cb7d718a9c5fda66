#include "package_file.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "hashed_file.hpp"
#include "package_format.hpp"
#include "random.hpp"

namespace trlm::adapt::bench {
namespace {

namespace format = package_format;

constexpr float delta_deviation = 0.0005F;
constexpr std::size_t piece_elements = 64 * 1024;

using Sink = std::function<void(Bytes)>;

enum Part : std::uint64_t { values, positions, a, b };

// ------------------------------------------------------------------------------------- payloads

void emit_values(std::uint64_t seed, std::uint64_t count, float deviation, const Sink& sink) {
    std::vector<float> piece(std::min<std::uint64_t>(count, piece_elements));
    for (std::uint64_t first = 0; first < count; first += piece.size()) {
        const std::span<float> part =
            std::span(piece).first(std::min<std::uint64_t>(piece.size(), count - first));
        fill_random(seed, first, deviation, part);
        sink(std::as_bytes(part));
    }
}

void emit_index_list(std::uint64_t seed, std::uint64_t count, std::uint64_t elements,
                     const Sink& sink) {
    std::vector<std::uint32_t> piece;
    for (std::uint64_t k = 0; k < count; ++k) {
        piece.push_back(static_cast<std::uint32_t>(stratified_index(seed, k, count, elements)));
        if (piece.size() == piece_elements || k + 1 == count) {
            sink(std::as_bytes(std::span(piece)));
            piece.clear();
        }
    }
}

void emit_bitmask(std::uint64_t seed, std::uint64_t count, std::uint64_t elements,
                  const Sink& sink) {
    const std::uint64_t bytes = (elements + 7) / 8;
    std::vector<std::byte> piece;
    std::uint64_t k = 0;
    for (std::uint64_t first = 0; first < bytes; first += piece_elements) {
        piece.assign(std::min<std::uint64_t>(piece_elements, bytes - first), std::byte{0});
        for (; k < count; ++k) {
            const std::uint64_t index = stratified_index(seed, k, count, elements);
            if (index / 8 >= first + piece.size()) break;
            piece[index / 8 - first] |= std::byte{1} << (index % 8);
        }
        sink(piece);
    }
}

/// An entry's payload, in two parts with padding between (see `format::PayloadParts`).
class Payload {
public:
    Payload(PackageKind kind, const PackageEntry& entry, std::uint64_t seed)
        : kind_(kind), entry_(entry), seed_(derived_seed(seed, entry.name_hash)) {}

    void emit_first(const Sink& sink) const {
        const std::uint64_t elements = entry_.shape.elements().value();
        switch (kind_) {
            case PackageKind::dense:
                return;
            case PackageKind::sparse:
                if (entry_.encoding == SparseEncoding::index_list) {
                    emit_index_list(seed_of(Part::positions), entry_.count, elements, sink);
                } else {
                    emit_bitmask(seed_of(Part::positions), entry_.count, elements, sink);
                }
                return;
            case PackageKind::low_rank:
                emit_values(seed_of(Part::a), entry_.rank * entry_.shape.cols(), factor_deviation(),
                            sink);
        }
    }

    void emit_second(const Sink& sink) const {
        switch (kind_) {
            case PackageKind::dense:
                emit_values(seed_of(Part::values), entry_.shape.elements().value(), delta_deviation,
                            sink);
                return;
            case PackageKind::sparse:
                emit_values(seed_of(Part::values), entry_.count, delta_deviation, sink);
                return;
            case PackageKind::low_rank:
                emit_values(seed_of(Part::b), entry_.shape.rows() * entry_.rank, factor_deviation(),
                            sink);
        }
    }

    void emit(const Sink& sink) const {
        static constexpr std::array<std::byte, region_alignment> zeros{};
        const format::PayloadParts parts = format::payload_parts(kind_, entry_);
        emit_first(sink);
        sink(Bytes(zeros).first(parts.second_offset().value() - parts.first.value()));
        emit_second(sink);
    }

private:
    [[nodiscard]] std::uint64_t seed_of(Part part) const { return derived_seed(seed_, part); }

    /// So that the product is as large as a dense delta, whatever the rank.
    [[nodiscard]] float factor_deviation() const {
        return std::sqrt(delta_deviation / std::sqrt(static_cast<float>(entry_.rank)));
    }

    PackageKind kind_;
    const PackageEntry& entry_;
    std::uint64_t seed_;
};

// -------------------------------------------------------------------------------------- entries

SparseEncoding shorter_encoding(std::uint64_t count, std::uint64_t elements) {
    const auto bytes = [&](SparseEncoding encoding) {
        return format::position_bytes(encoding, count, elements).value();
    };
    return bytes(SparseEncoding::bitmask) < bytes(SparseEncoding::index_list)
               ? SparseEncoding::bitmask
               : SparseEncoding::index_list;
}

bool suits(const ModelTensor& tensor, const AdapterSpec& spec) {
    if (tensor.name.find(spec.tensors) == std::string::npos) return false;
    const std::uint64_t elements = tensor.shape.elements().value();
    switch (spec.kind) {
        case PackageKind::dense:
            break;
        case PackageKind::sparse:
            return elements <= std::uint64_t{1} << 31;
        case PackageKind::low_rank:
            return tensor.shape.rank == 2 &&
                   spec.rank <= std::min(tensor.shape.rows(), tensor.shape.cols());
    }
    return true;
}

PackageEntry entry_of(const ModelTensor& tensor, const AdapterSpec& spec) {
    PackageEntry entry;
    entry.name = tensor.name;
    entry.name_hash = tensor.name_hash;
    entry.shape = tensor.shape;
    if (spec.kind == PackageKind::sparse) {
        const std::uint64_t elements = tensor.shape.elements().value();
        const double wanted = std::round(spec.density * static_cast<double>(elements));
        entry.count = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(wanted), 1, elements);
        entry.encoding = shorter_encoding(entry.count, elements);
    } else if (spec.kind == PackageKind::low_rank) {
        entry.rank = spec.rank;
        entry.scale = 1;
    }
    entry.payload_length = format::payload_parts(spec.kind, entry).bytes().value();
    return entry;
}

std::vector<PackageEntry> entries_of(const Model& model, const AdapterSpec& spec) {
    std::vector<PackageEntry> entries;
    std::uint64_t bytes = format::header_bytes;
    for (const ModelTensor& tensor : model.tensors()) {
        if (!suits(tensor, spec)) continue;
        PackageEntry entry = entry_of(tensor, spec);
        // An upper bound: padding, and the name in the metadata.
        bytes += entry.payload_length + format::entry_bytes + tensor.name.size() + 68;
        if (spec.largest_bytes != 0 && bytes > spec.largest_bytes) break;
        entries.push_back(std::move(entry));
    }
    std::ranges::sort(entries, {}, &PackageEntry::name_hash);
    return entries;
}

// ----------------------------------------------------------------------------------------- head

class PackageFile {
public:
    PackageFile(const Model& model, const AdapterSpec& spec)
        : model_(model), spec_(spec), entries_(entries_of(model, spec)) {}

    [[nodiscard]] bool empty() const { return entries_.empty(); }

    [[nodiscard]] Status write(const std::string& path) {
        lay_out();
        hash_payloads();
        Result<HashedFile> file = HashedFile::create(path, file_length_);
        if (!file) return failure(std::move(file).error());
        file->write(make_head());
        for (const PackageEntry& entry : entries_) {
            file->pad_to(entry.payload_offset);
            Payload(spec_.kind, entry, spec_.seed).emit([&](Bytes bytes) { file->write(bytes); });
        }
        return file->finish(format::header::checksum.offset);
    }

private:
    void lay_out() {
        nlohmann::ordered_json metadata{{"name", "random"}};
        for (const PackageEntry& entry : entries_)
            metadata["tensor_names"].push_back(entry.name);
        metadata_ = metadata.dump();
        const std::uint64_t directory_end = format::entry_offset(entries_.size());
        metadata_offset_ = align64(directory_end).value();
        payload_offset_ = align64(metadata_offset_ + metadata_.size()).value();
        std::uint64_t end = payload_offset_;
        for (PackageEntry& entry : entries_) {
            entry.payload_offset = align64(end).value();
            end = entry.payload_offset + entry.payload_length;
        }
        file_length_ = end;
    }

    void hash_payloads() {
        for (PackageEntry& entry : entries_) {
            const Payload payload(spec_.kind, entry, spec_.seed);
            Xxh3 hash;
            payload.emit([&](Bytes bytes) { hash.update(bytes); });
            entry.payload_checksum = hash.hash();
            if (spec_.kind == PackageKind::sparse) {
                payload.emit_first([&](Bytes bytes) { mask_.update(bytes); });
            }
        }
    }

    template <class T>
    void put(format::Field field, T value, std::uint64_t base = 0) {
        store(MutableBytes(head_), base + field.offset, value);
    }

    [[nodiscard]] const std::vector<std::byte>& make_head() {
        namespace header = format::header;
        head_.assign(payload_offset_, std::byte{0});
        store(MutableBytes(head_), 0, magic());
        put(header::version, format::version);
        put(header::header_length, static_cast<std::uint32_t>(format::header_bytes));
        const Identity& identity = model_.identity();
        put(header::model_flags, identity.model_flags);
        put(header::tensor_count, identity.tensor_count);
        put(header::parameter_count, identity.parameter_count);
        put(header::tensor_layout_checksum, identity.tensor_layout_checksum);
        put(header::tokenizer_checksum, identity.tokenizer_checksum);
        put(header::entry_count, static_cast<std::uint32_t>(entries_.size()));
        put(header::directory_offset, format::header_bytes);
        put(header::metadata_offset, metadata_offset_);
        put(header::metadata_length, std::uint64_t{metadata_.size()});
        put(header::payload_offset, payload_offset_);
        put(header::file_length, file_length_);
        if (spec_.kind == PackageKind::sparse) put_sparse_header();
        for (std::size_t i = 0; i < entries_.size(); ++i)
            put_entry(entries_[i], format::entry_offset(i));
        std::ranges::copy(as_bytes(metadata_),
                          head_.begin() + static_cast<std::ptrdiff_t>(metadata_offset_));
        return head_;
    }

    [[nodiscard]] std::array<char, 4> magic() const {
        const std::string_view name = adapt::to_string(spec_.kind);
        return {name[0], name[1], name[2], name[3]};
    }

    void put_sparse_header() {
        std::uint64_t stored = 0;
        std::uint64_t elements = 0;
        for (const PackageEntry& entry : entries_) {
            stored += entry.count;
            elements += entry.shape.elements().value();
        }
        put(format::header::retention, format::retention_of(stored, elements));
        put(format::header::mask_checksum, mask_.hash());
    }

    void put_entry(const PackageEntry& entry, std::uint64_t at) {
        namespace fields = format::entry;
        put(fields::name_hash, entry.name_hash, at);
        put(fields::rank, entry.shape.rank, at);
        put(fields::dims, entry.shape.dims, at);
        put(fields::payload_offset, entry.payload_offset, at);
        put(fields::payload_length, entry.payload_length, at);
        put(fields::payload_checksum, entry.payload_checksum, at);
        if (spec_.kind == PackageKind::sparse) {
            put(fields::encoding, entry.encoding, at);
            put(fields::count, entry.count, at);
        } else if (spec_.kind == PackageKind::low_rank) {
            put(fields::low_rank, entry.rank, at);
            put(fields::scale, entry.scale, at);
        }
    }

    const Model& model_;
    const AdapterSpec& spec_;
    std::vector<PackageEntry> entries_;
    std::string metadata_;
    std::vector<std::byte> head_;
    std::uint64_t metadata_offset_ = 0;
    std::uint64_t payload_offset_ = 0;
    std::uint64_t file_length_ = 0;
    Xxh3 mask_;
};

}  // namespace

Status write_random_adapter(const std::string& path, const Model& model, const AdapterSpec& spec) {
    PackageFile file(model, spec);
    if (file.empty()) {
        return failure(Finding{.code = FindingCode::usage_error,
                               .message = "no tensor of the model suits the adapter asked for"});
    }
    return file.write(path);
}

}  // namespace trlm::adapt::bench
