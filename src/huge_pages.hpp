#pragma once
// Large pieces of memory that are touched once, front to back.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include <sys/mman.h>

namespace trlm::adapt {

/// Frees memory that was allocated with this alignment.
struct AlignedDelete {
    std::align_val_t alignment{64};
    void operator()(std::byte* memory) const noexcept { ::operator delete(memory, alignment); }
};

/// Uninitialized memory. A page fault costs as much as hashing a page: where the system has huge
/// pages to give, it takes 512 times fewer of them.
class HugeBuffer {
public:
    HugeBuffer() = default;

    /// Throws std::bad_alloc.
    explicit HugeBuffer(std::size_t bytes) {
        constexpr std::size_t huge_page = std::size_t{2} << 20;
        if (bytes == 0) return;
        const bool large = bytes >= 2 * huge_page;
        const std::align_val_t alignment{large ? huge_page : std::size_t{64}};
        data_ = Memory(static_cast<std::byte*>(::operator new(bytes, alignment)),
                       AlignedDelete{alignment});
#if defined(MADV_HUGEPAGE)
        // Advice only. The rest of the last page stays small, as it may belong to others.
        if (large) (void)::madvise(data_.get(), bytes / huge_page * huge_page, MADV_HUGEPAGE);
#endif
    }

    [[nodiscard]] std::byte* data() const noexcept {
        return data_.get();
    }

private:
    using Memory = std::unique_ptr<std::byte[], AlignedDelete>;
    Memory data_;
};

}  // namespace trlm::adapt
