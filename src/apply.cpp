#include "trlm/adapt/apply.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include <fmt/format.h>

#include "effects.hpp"
#include "fp_environment.hpp"
#include "fuse.hpp"
#include "going_on.hpp"
#include "guard.hpp"
#include "publish.hpp"
#include "read_back.hpp"
#include "scratch_pool.hpp"
#include "synchronization.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/simd.hpp"
#include "trlm/adapt/undo.hpp"

namespace trlm::adapt {
namespace {

/// Piece in which bytes reach the sink: large enough for file systems that allocate by the write,
/// small enough to be in the cache from the kernels to the hash to the sink.
constexpr std::uint64_t piece_bytes = 1'048'576;

/// Tiles in flight for each thread: enough that a slow one does not stall the others.
constexpr std::size_t tiles_per_thread = 4;

/// A tile on its way from the kernels to the sink.
struct TileSlot {
    Tile tile;
    TileOutcome outcome;
    Buffer<kernels::RowSurvival> rows;  // the outcome's
    bool done = false;                  // the executor ran it
    bool out_of_memory = false;
};

/// Neighbouring tiles that are computed together and emitted at once.
struct TileBatch {
    std::vector<TileSlot> slots;
    std::size_t count = 0;
    Buffer<std::byte> room;
    MutableBytes payload;  // in `room`, of the first `count` slots, one behind the other
};

/// One run over a plan: emits the new file's regions in order.
class Application {
public:
    Application(const ApplyPlan& plan, const ApplyOptions& options, bool survival,
                const OutputSink* sink)
        : plan_(plan),
          options_(options),
          survival_(survival),
          sink_(sink),
          kernels_(*kernels::find(options.simd_target)),
          scales_(plan.tensors.size()),
          survivals_(plan.tensors.size()) {}

    /// Streams everything; findings tell why it stopped or what does not fit.
    void run() {
        total_ = plan_.output_bytes + early_scales_bytes();
        for (const OutputRegion& region : plan_.regions) {
            if (stopped_) break;
            emit_region(region);
        }
    }

    /// Only computes the tensors, emitting nothing.
    void check() {
        for (std::size_t i = 0; i < plan_.tensors.size(); ++i)
            total_ += tensor_bytes(i);
        for (std::size_t i = 0; i < plan_.tensors.size() && !stopped_; ++i) {
            if (plan_.tensors[i].proven_finite) {
                advance(tensor_bytes(i));
            } else {
                fuse_tensor(i, /*emitting=*/false);
            }
        }
    }

    [[nodiscard]] Findings& findings() noexcept { return findings_; }
    [[nodiscard]] bool changed() const noexcept { return changed_; }
    [[nodiscard]] std::uint64_t checksum() const noexcept { return hash_.checksum(); }
    [[nodiscard]] std::vector<TensorSurvival>& survivals() noexcept { return survivals_; }

private:
    /// New scales of a tensor, computed with its payload.
    struct Scales {
        Buffer<std::byte> bytes;
        bool computed = false;
        bool emitted = false;
    };

    void fail(Finding finding) { findings_.add(std::move(finding)); }

    void stop(FindingCode code, std::string message) {
        if (!stopped_) fail(make_finding(code, std::move(message)));
        stopped_ = true;
    }

    [[nodiscard]] std::uint64_t tensor_bytes(std::size_t index) const {
        const PlannedTensor& planned = plan_.tensors[index];
        const Shape& shape = plan_.model->tensors()[planned.model_index].shape;
        return payload_bytes(planned.storage.dtype, shape).value();
    }

    /// Payloads that are computed once more than they are emitted: those behind their scales.
    [[nodiscard]] std::uint64_t early_scales_bytes() const {
        std::uint64_t total = 0;
        std::vector<bool> computed(plan_.tensors.size());
        for (const OutputRegion& region : plan_.regions) {
            if (region.source == RegionSource::payload) computed[region.tensor] = true;
            const bool early = region.source == RegionSource::scales && !computed[region.tensor];
            if (early) total += tensor_bytes(region.tensor);
        }
        return total;
    }

    void advance(std::uint64_t bytes) {
        done_ += bytes;
        if (!goes_on(options_.progress, done_, total_)) {
            stop(FindingCode::output_failed, "cancelled before anything was published");
        }
    }

    /// Once a tensor cannot be stored nothing more is emitted, but all tensors are still checked.
    void emit(Bytes bytes) {
        if (stopped_ || findings_.has_errors()) return;
        hash_.update(bytes);
        if (!(*sink_)(bytes)) {
            stop(FindingCode::output_failed, "the new model's bytes could not be handed over");
            return;
        }
        advance(bytes.size());
    }

    void emit_pieces(Bytes bytes) {
        for (std::uint64_t at = 0; at < bytes.size() && !stopped_; at += piece_bytes) {
            emit(slice(bytes, at, std::min<std::uint64_t>(piece_bytes, bytes.size() - at)));
        }
    }

    void emit_region(const OutputRegion& region) {
        switch (region.source) {
            case RegionSource::head:
                emit(slice(plan_.head, region.source_offset, region.length));
                break;
            case RegionSource::base:
                emit_pieces(slice(plan_.model->bytes(), region.source_offset, region.length));
                break;
            case RegionSource::zeros: {
                const std::vector<std::byte> zeros(std::min(region.length, piece_bytes));
                for (std::uint64_t left = region.length; left > 0 && !stopped_;) {
                    const std::uint64_t piece = std::min<std::uint64_t>(left, zeros.size());
                    emit(slice(zeros, 0, piece));
                    left -= piece;
                }
                break;
            }
            case RegionSource::payload:
                fuse_tensor(region.tensor, /*emitting=*/true);
                break;
            case RegionSource::scales:
                // A file may hold a tensor's scales before its codes; these are then computed
                // twice, which is rarer than a model too large to keep in memory.
                if (!scales_[region.tensor].computed) fuse_tensor(region.tensor, false);
                emit_pieces(
                    {scales_[region.tensor].bytes.data(), scales_[region.tensor].bytes.size()});
                scales_[region.tensor].bytes.clear();
                scales_[region.tensor].emitted = true;
                break;
        }
    }

    /// Computes a tensor tile by tile, batch after batch; while one batch is computed, the tiles
    /// before it are emitted in order.
    void fuse_tensor(std::size_t index, bool emitting) {
        const PlannedTensor& planned = plan_.tensors[index];
        const TensorView view = plan_.model->view(planned.model_index);
        TensorFuser fuser;
        Scales& scales = scales_[index];
        if (!fuser.prepare(view, planned.storage, planned.deltas, options_.rounding, survival_,
                           kernels_) ||
            !scales.bytes.reserve({}, fuser.scale_bytes({0, fuser.tensor().shape.rows()}))) {
            throw_out_of_memory();
        }
        const bool first_time = !scales.computed;
        scales.computed = true;
        if (first_time) survivals_[index] = no_survival_yet(fuser.tensor());

        const std::uint64_t tiles = fuser.tile_count();
        const std::size_t threads = std::max<std::size_t>(1, options_.executor.concurrency);
        const bool parallel = threads > 1 && options_.executor.parallel_for;
        const std::uint64_t tile_bytes = fuser.payload_bytes(fuser.tile(0));
        const std::uint64_t batch =
            std::min(tiles, std::max<std::uint64_t>(parallel ? threads * tiles_per_thread : 1,
                                                    (piece_bytes + tile_bytes - 1) / tile_bytes));
        TileBatch current;
        TileBatch previous;
        bool storable = true;
        const auto finish_previous = [&] {
            storable = finish_batch(fuser, index, previous, first_time, emitting);
        };
        for (std::uint64_t next = 0; next < tiles && storable && !stopped_;) {
            start_batch(fuser, next, std::min(batch, tiles - next), current);
            const auto task = [&](std::size_t i) {
                if (i == current.count) {
                    finish_previous();
                    emitted_ = true;
                } else {
                    fuse_slot(fuser, view, current, i, scales.bytes.data());
                }
            };
            if (parallel) {
                run_parallel(current, task);
            } else {
                finish_previous();
                for (std::size_t i = 0; i < current.count && storable && !stopped_; ++i)
                    task(i);
            }
            std::swap(current, previous);
            next += previous.count;
        }
        if (storable) finish_previous();
        if (scales.emitted) scales.bytes.clear();
    }

    /// Places the tiles from `first` on in `batch`.
    static void start_batch(const TensorFuser& fuser, std::uint64_t first, std::uint64_t count,
                            TileBatch& batch) {
        batch.count = static_cast<std::size_t>(count);
        if (batch.slots.size() < batch.count) batch.slots.resize(batch.count);
        std::size_t bytes = 0;
        for (std::size_t i = 0; i < batch.count; ++i) {
            TileSlot& slot = batch.slots[i];
            slot.tile = fuser.tile(first + i);
            slot.done = false;
            bytes += fuser.payload_bytes(slot.tile);
        }
        if (!batch.room.reserve({}, bytes)) throw_out_of_memory();
        batch.payload = {batch.room.data(), bytes};
    }

    /// Runs tasks 0 .. count (the last one emits) and makes sure that each did run.
    void run_parallel(const TileBatch& batch, const std::function<void(std::size_t)>& task) {
        const std::size_t count = batch.count;
        emitted_ = false;
        const bool ran = quietly_with_memory([&] {
            // The emitting task is handed out first: it is the longest.
            options_.executor.parallel_for(count + 1,
                                           [&](std::size_t i) { task(i == 0 ? count : i - 1); });
        });
        if (!ran) {
            stop(FindingCode::executor_failed, "the executor threw an exception");
            return;
        }
        const bool all = std::all_of(batch.slots.begin(),
                                     batch.slots.begin() + static_cast<std::ptrdiff_t>(count),
                                     [](const TileSlot& slot) { return slot.done; });
        if (!all || !emitted_) {
            stop(FindingCode::executor_failed,
                 "the executor returned before it had run every task");
        }
    }

    void fuse_slot(const TensorFuser& fuser, const TensorView& view, TileBatch& batch,
                   std::size_t i, std::byte* scales) noexcept {
        TileSlot& slot = batch.slots[i];
        const bool enough = memory_suffices([&] {
            const FpEnvironment environment;
            const std::size_t offset =
                fuser.payload_offset(slot.tile) - fuser.payload_offset(batch.slots.front().tile);
            auto scratch = scratch_.take();
            if (!scratch->reserve(fuser, {}) ||
                !slot.rows.reserve({}, survival_ ? slot.tile.rows : 0)) {
                throw_out_of_memory();
            }
            slot.outcome.rows = slot.rows.data();
            // Once something has changed it does not matter what else does.
            const bool watch_changes = !changed_.load(std::memory_order_relaxed);
            const OldTile old = fuser.old_tile(slot.tile, view.payload.data(), view.scales.data());
            const NewTile fused{batch.payload.data() + offset,
                                scales + fuser.scale_offset(slot.tile)};
            fuser.fuse(slot.tile, old, *scratch, fused, watch_changes, slot.outcome);
            scratch_.give(std::move(scratch));
        });
        slot.out_of_memory = !enough;
        slot.done = true;
    }

    /// Takes its tiles' outcomes into account and emits a batch. False when the tensor cannot be
    /// stored.
    bool finish_batch(const TensorFuser& fuser, std::size_t index, const TileBatch& batch,
                      bool first_time, bool emitting) {
        for (std::size_t i = 0; i < batch.count; ++i) {
            if (stopped_ || !finish_tile(fuser, index, batch.slots[i], first_time)) return false;
        }
        if (batch.count == 0) return true;
        if (emitting) {
            emit(batch.payload);
        } else {
            advance(batch.payload.size());
        }
        return true;
    }

    bool finish_tile(const TensorFuser& fuser, std::size_t index, const TileSlot& slot,
                     bool first_time) {
        if (slot.out_of_memory) {
            stop(FindingCode::out_of_memory, "there is not enough memory for a tile of the tensor");
            return false;
        }
        if (slot.outcome.bad) {
            if (first_time) fail(fused_non_finite(fuser.tensor(), *slot.outcome.bad));
            return false;
        }
        if (slot.outcome.changed) changed_ = true;
        if (first_time)
            add_survival(survivals_[index],
                         {slot.outcome.rows, static_cast<std::size_t>(slot.outcome.measured)});
        return true;
    }

    const ApplyPlan& plan_;
    const ApplyOptions& options_;
    const bool survival_;
    const OutputSink* sink_;
    const kernels::Table& kernels_;
    std::vector<Scales> scales_;
    std::vector<TensorSurvival> survivals_;
    ScratchPool scratch_;
    Xxh3 hash_;
    Findings findings_;
    std::uint64_t done_ = 0;
    std::uint64_t total_ = 0;
    std::atomic<bool> changed_ = false;  // read by tasks while the emitting one sets it
    bool stopped_ = false;
    bool emitted_ = false;
};

/// The header's checksum field as bytes.
std::array<std::byte, 8> checksum_bytes(std::uint64_t checksum) {
    std::array<std::byte, 8> bytes{};
    store(MutableBytes(bytes), 0, checksum);
    return bytes;
}

/// A new model in its temporary file, sealed and without a name.
struct WrittenModel {
    OutputFile file;
    ApplyReport report;
};

Result<WrittenModel> write_model(const ApplyPlan& plan, const std::string& path,
                                 const ApplyOptions& options) {
    auto file = OutputFile::create(path, plan.output_bytes);
    if (!file) return failure(std::move(file.error()));
    Findings write_error;
    auto report = apply_to_sink(
        plan,
        [&](Bytes bytes) {
            Status written = file->write(bytes);
            if (!written) write_error = std::move(written.error());
            return !write_error.has_errors();
        },
        options);
    if (write_error.has_errors()) return failure(std::move(write_error));
    if (!report) return failure(std::move(report.error()));
    if (Status sealed = seal_model(*file, report->internal_checksum); !sealed) {
        return failure(std::move(sealed.error()));
    }
    return WrittenModel{std::move(*file), std::move(*report)};
}

/// Reads a new model once: its SHA-256, and, with `undo`, what undoes it. Meanwhile the file is on
/// its way to the disk.
Result<Digest> read_model_back(WrittenModel& model, UndoWriter* undo, const Progress& progress) {
    Synchronization synchronization(model.file);
    const std::uint64_t total = model.report.bytes;
    std::uint64_t done = 0;
    Sha256 sha;
    Status read = read_back(model.file, total, [&](Bytes piece) -> Status {
        sha.update(piece);
        if (undo != nullptr) {
            if (Status added = undo->add(piece); !added) return added;
        }
        done += piece.size();
        // With an undo file the base is read once more, which takes its time.
        if (!goes_on(progress, undo != nullptr ? done : total, total)) {
            return failure(cancelled_before_publishing());
        }
        return {};
    });
    if (!read) return failure(std::move(read.error()));
    if (Status synchronized = synchronization.finish(); !synchronized) {
        return failure(std::move(synchronized.error()));
    }
    if (!goes_on(progress, total, total)) return failure(cancelled_before_publishing());
    return sha.finish();
}

/// Why a model was not published, and what became of its undo file, which was.
Findings withdrawn(UndoWriter& undo, Findings why) {
    if (Status withdrawn_undo = undo.withdraw(); !withdrawn_undo) {
        why.append(std::move(withdrawn_undo).error());
    }
    return why;
}

/// Has the caller publish what belongs to a model that is complete and has no name yet.
Status publish_companions(const ApplyOptions& options, const WrittenModel& model,
                          const Digest& digest) {
    if (!options.before_publishing) return {};
    return options.before_publishing({model.report, digest}, model.file);
}

/// The new model has the digest that the caller expects, if any.
Status check_expected(const ApplyOptions& options, const Digest& digest) {
    if (!options.expected_digest || *options.expected_digest == digest) return {};
    Finding finding = make_finding(
        FindingCode::value_drift,
        "the new model is not the one that was expected, and was not published: a document "
        "states another digest, or the files are not those that it was written for");
    finding.expected = to_string(*options.expected_digest);
    finding.actual = to_string(digest);
    return failure(std::move(finding));
}

}  // namespace

Status check_fused(const ApplyPlan& plan, const ApplyOptions& options) {
    return guarded([&]() -> Status {
        if (Status known = check_simd_target(options.simd_target); !known) return known;
        Application application(plan, options, /*survival=*/false, nullptr);
        application.check();
        if (application.findings().has_errors()) {
            return failure(std::move(application.findings()));
        }
        return {};
    });
}

Result<ApplyReport> apply_to_sink(const ApplyPlan& plan, const OutputSink& sink,
                                  const ApplyOptions& options) {
    return guarded([&]() -> Result<ApplyReport> {
        if (Status known = check_simd_target(options.simd_target); !known) {
            return failure(std::move(known.error()));
        }
        const bool survival = options.survival || options.min_survival.has_value();
        Application application(plan, options, survival, &sink);
        application.run();
        Findings findings = std::move(application.findings());
        if (findings.has_errors()) return failure(std::move(findings));

        ApplyReport report;
        report.state = plan.state;
        report.internal_checksum = application.checksum();
        report.bytes = plan.output_bytes;
        report.zero_effect = !application.changed();
        report.warnings.append(plan.warnings);
        if (survival) {
            report.tensors = std::move(application.survivals());
            report.kept = kept_of_stack(report.tensors);
        }
        judge_effect(options, report, findings);
        if (findings.has_errors()) return failure(std::move(findings));
        return report;
    });
}

Result<ApplyReport> apply_to_memory(const ApplyPlan& plan, std::vector<std::byte>& output,
                                    const ApplyOptions& options) {
    return guarded([&]() -> Result<ApplyReport> {
        output.clear();
        output.reserve(plan.output_bytes);
        auto report = apply_to_sink(
            plan,
            [&](Bytes bytes) {
                output.insert(output.end(), bytes.begin(), bytes.end());
                return true;
            },
            options);
        if (report) {
            store(MutableBytes(output), slm1_checksum_offset, report->internal_checksum);
        } else {
            output.clear();
        }
        return report;
    });
}

Result<DigestedReport> apply_to_file(const ApplyPlan& plan, const std::string& path, bool replace,
                                     const ApplyOptions& options) {
    return guarded([&]() -> Result<DigestedReport> {
        auto model = write_model(plan, path, options);
        if (!model) return failure(std::move(model.error()));
        const auto digest = read_model_back(*model, nullptr, options.progress);
        if (!digest) return failure(digest.error());
        if (Status right = check_expected(options, *digest); !right) {
            return failure(std::move(right.error()));
        }
        if (Status companions = publish_companions(options, *model, *digest); !companions) {
            return failure(std::move(companions.error()));
        }
        if (Status published = model->file.commit(replace); !published) {
            return failure(std::move(published.error()));
        }
        return DigestedReport{std::move(model->report), *digest};
    });
}

Result<UndoableReport> apply_with_undo(const ApplyPlan& plan, const std::string& path,
                                       const std::string& undo_path, bool replace,
                                       const ApplyOptions& options) {
    return guarded([&]() -> Result<UndoableReport> {
        auto undo = UndoWriter::create(undo_path, plan.model->bytes());
        if (!undo) return failure(std::move(undo.error()));
        auto model = write_model(plan, path, options);
        if (!model) return failure(std::move(model.error()));
        const auto digest = read_model_back(*model, &*undo, options.progress);
        if (!digest) return failure(digest.error());
        if (Status right = check_expected(options, *digest); !right) {
            return failure(std::move(right.error()));
        }
        const auto undo_report = undo->finish(*digest);
        if (!undo_report) return failure(undo_report.error());
        if (Status companions = publish_companions(options, *model, *digest); !companions) {
            return failure(std::move(companions.error()));
        }
        // The undo file first: there is no moment at which the model lies there without it.
        if (Status published = undo->publish_before(model->file, replace); !published) {
            return failure(std::move(published.error()));
        }
        if (Status published = model->file.commit(replace); !published) {
            return failure(withdrawn(*undo, std::move(published.error())));
        }
        return UndoableReport{{std::move(model->report), *digest}, *undo_report};
    });
}

Result<DigestedReport> predict(const ApplyPlan& plan, const ApplyOptions& options) {
    return guarded([&]() -> Result<DigestedReport> {
        // The digest covers the checksum, which stands in the header and covers all the rest:
        // one pass for each.
        auto report = apply_to_sink(
            plan, [](Bytes) { return true; }, options);
        if (!report) return failure(std::move(report.error()));
        ApplyOptions again = options;
        again.survival = false;
        again.min_survival.reset();
        const auto checksum = checksum_bytes(report->internal_checksum);
        Sha256 sha;
        bool header = true;
        const auto second = apply_to_sink(
            plan,
            [&](Bytes bytes) {
                if (header) {  // the first region ends right behind the checksum, or is the head
                    std::vector<std::byte> head(bytes.begin(), bytes.end());
                    std::ranges::copy(checksum, head.begin() + slm1_checksum_offset);
                    sha.update(head);
                    header = false;
                } else {
                    sha.update(bytes);
                }
                return true;
            },
            again);
        if (!second) return failure(second.error());
        const Digest digest = sha.finish();
        if (Status right = check_expected(options, digest); !right) {
            return failure(std::move(right.error()));
        }
        return DigestedReport{std::move(*report), digest};
    });
}

}  // namespace trlm::adapt
