// Undo files: every run that the reader accepts lies where it says.

#include "trlm/adapt/undo.hpp"

#include "support.hpp"

using namespace trlm::adapt;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes file = fuzz::bytes_of(data, size);
    const auto undo = read_undo(file);
    if (!undo) {
        require(undo.error().has_errors(), "a refusal has a reason");
        return 0;
    }
    UndoRuns runs(*undo);
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
    std::uint64_t end = 0;
    while (const auto run = runs.next()) {
        require(run->offset >= end, "runs ascend");
        require(range_inside(run->offset, run->old_bytes.size(), undo->base_length()),
                "runs lie in the base");
        end = run->offset + run->old_bytes.size();
        bytes += run->old_bytes.size();
        ++count;
    }
    require(count == undo->run_count() && bytes == undo->restored_bytes(), "counts are right");
    return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
    return fuzz::mutate(data, size, most, seed,
                        [](MutableBytes file) { fuzz::seal_at(file, 152); });
}
