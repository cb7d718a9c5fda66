#pragma once
// What the host gives to the WebAssembly module. None of it decides anything.

#include <cstddef>
#include <cstdint>

#define TRLM_IMPORT(name) __attribute__((import_module("host"), import_name(name)))

extern "C" {

/// Told of the bytes done and of the status of the gates meanwhile; 0 cancels.
TRLM_IMPORT("progress") std::int32_t host_progress(double done, double total);

/// Makes room for an output of that many bytes; 0 when there is none.
TRLM_IMPORT("output_begin") std::int32_t host_output_begin(double bytes);

/// Places bytes in the output.
TRLM_IMPORT("output_write")
void host_output_write(double offset, const void* data, std::size_t bytes);

/// Gives bytes of the output back.
TRLM_IMPORT("output_read") void host_output_read(double offset, void* data, std::size_t bytes);

/// Memory has ended. Does not return.
[[noreturn]] TRLM_IMPORT("out_of_memory") void host_out_of_memory();
}
