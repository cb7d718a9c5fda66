#pragma once
// The twelve gates: a bundle is taken in file by file, and nothing is asked for, shown or applied
// before the gate in front of it has passed.  docs/receipts.md

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/executor.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/progress.hpp"
#include "trlm/adapt/receipt/registry.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/rounding.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/source.hpp"

#pragma GCC visibility push(default)
namespace trlm::adapt {

/// The gates, in order.
enum class Gate : std::uint8_t {
    registry,
    module_plan,
    model_bytes,
    model_manifest,
    assembly_receipt,
    evidence,
    adapter_family,
    adapter_manifests,
    adapter_artifacts,
    validate,
    apply,
    diagnostics,
};

/// Number of gates.
inline constexpr std::size_t gate_count = 12;

/// "registry", "module-plan", ...
[[nodiscard]] std::string_view to_string(Gate gate) noexcept;

/// blocked: a gate that it needs has not passed. not_applicable: there is no adapter family.
enum class GateStatus : std::uint8_t { pending, passed, failed, blocked, not_applicable };

/// "pending", "passed", "failed", "blocked", "not-applicable".
[[nodiscard]] std::string_view to_string(GateStatus status) noexcept;

/// How a bundle is verified.
struct ChainOptions {
    /// Where the registry lies, from the bundle's root.
    std::string registry_path = "selector.registry.json";
    std::string entry = {};                      ///< id; empty: the registry's default entry
    std::optional<Digest> registry_digest = {};  ///< pins the registry itself
    bool allow_weak_digests = false;             ///< `weak_digest` becomes a warning
    bool strict = false;                         ///< `unlisted_file` becomes an error
    /// What to do with a model's checksum that cannot be verified.
    ChecksumPolicy checksum = ChecksumPolicy::verify;
    Executor executor = {};  ///< where the work runs
    Progress progress = {};  ///< told of the bytes done; may cancel
    /// Each piece is hashed when it is fed, not all files of a gate together on the executor's
    /// threads: for hosts that have one thread and a slow source.
    bool hash_on_the_way = false;
    std::string simd_target = {};  ///< see simd.hpp; empty: the best
};

/// The file that a chain asks for.
struct WantedFile {
    Gate gate = Gate::registry;               ///< that it is for
    std::string path = {};                    ///< from the root
    std::optional<std::uint64_t> bytes = {};  ///< its size, where a document states it
    std::uint64_t most_bytes = 0;             ///< more are not taken
};

/// What a chain found out.
struct ChainReport {
    std::array<GateStatus, gate_count> gates{};  ///< one per gate, in the order of `Gate`
    std::vector<std::string> opened;             ///< paths, in order
    std::string entry;                           ///< id of the chosen entry; empty when none was
    std::optional<std::uint64_t> state;          ///< assembly state, when gate 12 was reached
    Findings findings;  ///< of all gates, in the order in which they were met
    /// How many of the findings there were when each gate had been judged.
    std::array<std::size_t, gate_count> findings_until{};

    /// The status of one gate.
    [[nodiscard]] GateStatus status(Gate gate) const noexcept {
        return gates[static_cast<std::size_t>(gate)];
    }
};

/// What a chain holds once every gate has passed, for as long as it lives.
struct VerifiedAssembly {
    const Model* model = nullptr;     ///< the entry's model
    const ApplyPlan* plan = nullptr;  ///< its family's preferred stack; null without a family
    Rounding rounding = {};           ///< that of the stack
};

/// The gates as a state machine that is fed with files. It holds the files that it verified: what
/// is used later is what was hashed. A host asks for `wanted`, opens that file and no other, and
/// tells `open`, `feed` (any number of pieces) and `close`, or `refuse` when it cannot be had.
/// Findings: every code that a document, model or package may give, and those of the gates; all
/// are in the report. Memory: all files of the entry. Use from one thread at a time.
class Chain {
public:
    /// Waits for the registry; nothing was fed yet. Where there is no memory to begin with, no file
    /// is wanted, and the report says `out_of_memory`.
    explicit Chain(const ChainOptions& options = {}) noexcept;
    /// Takes over; the other wants no file.
    Chain(Chain&&) noexcept;
    /// The same.
    Chain& operator=(Chain&&) noexcept;
    ~Chain();

    /// The file that is wanted next, or nullptr when every gate has been judged. O(1).
    [[nodiscard]] const WantedFile* wanted() const noexcept;

    /// The wanted file is open and has `bytes` bytes. False when it is not to be read: its size is
    /// wrong, and the next file is wanted.
    bool open(std::uint64_t bytes);

    /// Where the next bytes of the open file will lie: a host may place them there itself and then
    /// feed that part, which saves a copy. Empty when no file is open, or it is complete.
    [[nodiscard]] MutableBytes room() const noexcept;

    /// The next piece of the open file. False when the file has more bytes than its size, so that
    /// it is not to be read further: the next file is wanted. O(bytes).
    bool feed(Bytes piece);

    /// The open file has ended. Gates that need no further file are judged at once. O(bytes) of
    /// the files that they need.
    void close();

    /// The wanted file cannot be had.
    void refuse(Findings why);

    /// What has been found out so far.
    [[nodiscard]] const ChainReport& report() const noexcept;

    /// SHA-256 of the last file that was closed complete, where it was hashed on the way.
    [[nodiscard]] std::optional<Digest> closed_digest() const noexcept;

    /// What was verified; nothing unless every gate has passed or does not apply.
    [[nodiscard]] std::optional<VerifiedAssembly> verified() const noexcept;

    /// The verified bytes of a file that was opened, for as long as the chain lives; nothing of a
    /// file that was not opened, or is not the one that was named. O(log n).
    [[nodiscard]] std::optional<Bytes> file(const std::string& path) const;

    /// The registry, once gate 1 has read it; nullptr otherwise.
    [[nodiscard]] const Registry* registry() const noexcept;

    /// Whether `list` has anything to tell: every gate has been judged, and there is a plan to tell
    /// by.
    [[nodiscard]] bool can_judge_list() const noexcept;

    /// The names of all files of the bundle, from a host that can list them. Those that no entry of
    /// the registry leads to become `unlisted_file`. While there may be any, the module plans of
    /// other entries are wanted, for gate 2; what is wrong with such a plan is no finding.
    /// O(files log files).
    void list(const std::vector<std::string>& files);

private:
    class [[gnu::visibility("hidden")]] Machine;
    template <class Step>
    auto step(const Step& step);
    std::unique_ptr<Machine> machine_;
};

/// All gates over a source, and its list of files, where it has one.
[[nodiscard]] ChainReport verify(Source& source, const ChainOptions& options = {});

}  // namespace trlm::adapt
#pragma GCC visibility pop
