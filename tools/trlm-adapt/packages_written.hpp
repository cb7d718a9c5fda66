#pragma once
// Packages that a command made: given their names together, and told of.

#include <optional>
#include <string>

#include "report.hpp"
#include "trlm/adapt/package_file.hpp"

namespace trlm::adapt::cli {

/// A finished package and the path that it is to have.
struct UnnamedPackage {
    PackageFile* file = nullptr;
    std::string path;
};

/// Gives a package its name, and before it the companion's, where there is one. When the package
/// cannot have its name, the companion is taken back. Inputs that are not whole prevent it
/// (`output_failed`); once it is done they are not watched any more.
[[nodiscard]] Status publish(const UnnamedPackage& package,
                             const std::optional<UnnamedPackage>& companion, bool replace);

/// {path, bytes, digest, internal_checksum}.
[[nodiscard]] Json written_json(const std::string& path, const WrittenPackage& package);

/// "Wrote PATH", and the lines below it.
[[nodiscard]] std::string written_text(const std::string& path, const WrittenPackage& package,
                                       const Style& style);

}  // namespace trlm::adapt::cli
