#pragma once
// The bytes of an undo file: what the writer and the reader both go by.
// docs/formats.md, section 6

#include <cstdint>
#include <string_view>

#include "package_format.hpp"

namespace trlm::adapt::undo_format {

using package_format::Field;

inline constexpr std::string_view magic = "UND1";
inline constexpr std::uint32_t version = 1;
inline constexpr std::uint64_t header_bytes = 160;

namespace header {
inline constexpr Field version{"version", 4, 4};
inline constexpr Field header_length{"header_length", 8, 4};
inline constexpr Field undo_flags{"undo_flags", 12, 4};
inline constexpr Field base_length{"base_length", 16, 8};
inline constexpr Field output_length{"output_length", 24, 8};
inline constexpr Field base_digest{"base_digest", 32, 32};
inline constexpr Field output_digest{"output_digest", 64, 32};
inline constexpr Field run_count{"run_count", 96, 8};
inline constexpr Field restored_length{"restored_length", 104, 8};
inline constexpr Field file_length{"file_length", 112, 8};
inline constexpr Field reserved{"the reserved field at 120", 120, 32};
inline constexpr Field checksum{"checksum", 152, 8};
}  // namespace header

inline constexpr Field zeros[] = {header::undo_flags, header::reserved};

// A number of a run is written in groups of seven bits, the lowest first; the highest bit of a byte
// says that another group follows.
inline constexpr std::uint64_t group_bits = 7;
inline constexpr unsigned group_mask = 0x7f;
inline constexpr unsigned more_groups = 0x80;
inline constexpr std::uint64_t longest_number = 10;  ///< bytes that 64 bits take

}  // namespace trlm::adapt::undo_format
