#pragma once
// The commands: options in, outcome out. None of them prints.

#include <optional>
#include <string>
#include <vector>

#include "report.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt::cli {

/// How models and packages are read and worked on, where a command does so.
struct WorkOptions {
    bool accept_foreign_checksum = false;
    bool strict = false;
    std::string threads = "0";  ///< 0: one per processor
    bool progress = true;       ///< a bar, where stderr is a terminal

    /// How a model is read.
    [[nodiscard]] ModelReadOptions read_options(ReadDepth depth = ReadDepth::everything) const {
        return {.checksum = accept_foreign_checksum ? ChecksumPolicy::accept_foreign
                                                    : ChecksumPolicy::verify,
                .depth = depth};
    }
};

struct ValidateOptions {
    WorkOptions work = {};
    std::vector<std::string> files = {};
    std::optional<std::string> model = {};
};

struct InspectOptions {
    WorkOptions work = {};
    std::string file = {};
    bool statistics = false;
};

struct ApplyCommandOptions {
    WorkOptions work = {};
    std::string model = {};
    std::vector<std::string> stack = {};
    std::optional<std::string> output = {};
    std::vector<std::string> strengths = {};  ///< NAME=X each
    std::optional<std::string> receipt = {};
    std::optional<std::string> undo = {};
    std::optional<std::string> min_survival = {};
    std::optional<std::string> rounding = {};  ///< else the family's, or adaptive:0
    std::string output_dtype = "keep";
    bool dry_run = false;
    bool allow_no_effect = false;
    bool force = false;
};

struct RevertOptions {
    std::string file = {};
    std::string undo = {};
    std::optional<std::string> output = {};
    bool force = false;
    bool progress = true;
};

struct ConvertCommandOptions {
    WorkOptions work = {};
    std::string input = {};
    std::string output = {};
    std::optional<std::string> dtype = {};
    std::optional<std::string> base = {};
    std::optional<std::string> target = {};
    std::string rounding = "adaptive:0";
    bool force = false;
};

struct VerifyOptions {
    WorkOptions work = {};
    std::string bundle = {};
    std::optional<std::string> entry = {};
    std::optional<std::string> registry_digest = {};
    bool allow_weak_digests = false;
};

struct BundleCreateOptions {
    WorkOptions work = {};
    std::string recipe = {};
    std::string output = {};
};

struct ReplayCommandOptions {
    WorkOptions work = {};
    std::string receipt = {};
    std::optional<std::string> root = {};
    bool allow_weak_digests = false;
};

/// Numbers are texts here: the command says what is wrong with one.
struct DiffOptions {
    WorkOptions work = {};
    std::string base = {};
    std::string tuned = {};
    std::string output = {};
    std::optional<std::string> kind = {};
    std::optional<std::string> density = {};
    std::optional<std::string> threshold = {};
    std::optional<std::string> top_k = {};
    std::optional<std::string> drop = {};
    std::optional<std::string> seed = {};
    std::optional<std::string> rank = {};
    std::optional<std::string> energy = {};
    std::optional<std::string> vectors = {};
    std::optional<std::string> target = {};
    std::string rounding = "adaptive:0";
    bool global = false;
    bool rescale = false;
    bool force = false;
};

struct MergeCommandOptions {
    WorkOptions work = {};
    std::vector<std::string> packages = {};
    std::vector<std::string> strengths = {};  ///< NAME=X each
    std::string output = {};
    std::string method = "sum";
    std::optional<std::string> density = {};
    bool force = false;
};

struct ComposeCheckOptions {
    std::vector<std::string> packages = {};
};

struct DigestOptions {
    std::vector<std::string> files = {};
    bool progress = true;
};

struct ExplainOptions {
    std::optional<std::string> code = {};
};

/// Checks files, and with a model also whether each fits it.
[[nodiscard]] Outcome run_validate(const ValidateOptions& options);

/// Shows what is in a file.
[[nodiscard]] Outcome run_inspect(const InspectOptions& options);

/// Applies a stack to a model and writes a new one.
[[nodiscard]] Outcome run_apply(const ApplyCommandOptions& options);

/// Restores the base of a model from the undo file of its application.
[[nodiscard]] Outcome run_revert(const RevertOptions& options);

/// Makes a model or a package of another form's.
[[nodiscard]] Outcome run_convert(const ConvertCommandOptions& options);

/// Takes a bundle through the twelve gates.
[[nodiscard]] Outcome run_verify(const VerifyOptions& options);

/// Makes a bundle from a recipe.
[[nodiscard]] Outcome run_bundle_create(const BundleCreateOptions& options);

/// Applies again what a receipt records, and compares.
[[nodiscard]] Outcome run_replay(const ReplayCommandOptions& options);

/// Makes a package from two models.
[[nodiscard]] Outcome run_diff(const DiffOptions& options);

/// Makes one package of several.
[[nodiscard]] Outcome run_merge(const MergeCommandOptions& options);

/// What the members of a stack share.
[[nodiscard]] Outcome run_compose_check(const ComposeCheckOptions& options);

/// SHA-256 of files.
[[nodiscard]] Outcome run_digest(const DigestOptions& options);

/// What a finding means, what causes it and what to do.
[[nodiscard]] Outcome run_explain(const ExplainOptions& options);

/// Every limit.
[[nodiscard]] Outcome run_limits();

/// Versions, and what this machine offers.
[[nodiscard]] Outcome run_version();

}  // namespace trlm::adapt::cli
