#pragma once
// Memory from an engine's allocator. Nothing here throws: a buffer that cannot be had is a `false`.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <sys/mman.h>

#include "trlm/adapt/allocator.hpp"

namespace trlm::adapt {

/// Memory from an allocator, or from the program's heap where that has no functions; null when
/// there is none left.
[[nodiscard]] inline void* take_memory(const Allocator& allocator, std::size_t bytes,
                                       std::size_t alignment) noexcept {
    if (allocator.allocate != nullptr) {
        return allocator.allocate(allocator.context, bytes, alignment);
    }
    return ::operator new (bytes, std::align_val_t{alignment}, std::nothrow);
}

/// Gives memory back where it came from.
inline void give_memory(const Allocator& allocator, void* memory, std::size_t bytes,
                        std::size_t alignment) noexcept {
    if (allocator.allocate != nullptr) {
        allocator.release(allocator.context, memory, bytes, alignment);
    } else {
        ::operator delete (memory, std::align_val_t{alignment});
    }
}

/// Some elements of type T. Trivial ones are not initialized.
template <class T>
class Buffer {
public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        swap(other);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { clear(); }

    /// Replaces what there was by `count` elements. On failure there are none.
    [[nodiscard]] bool allocate(const Allocator& allocator, std::uint64_t count) noexcept {
        clear();
        if (count == 0) return true;
        // NOLINTBEGIN(bugprone-sizeof-expression): elements may be pointers
        if (count > std::numeric_limits<std::size_t>::max() / 2 / sizeof(T)) return false;
        allocator_ = allocator;
        bytes_ = static_cast<std::size_t>(count) * sizeof(T);
        // NOLINTEND(bugprone-sizeof-expression)
        data_ = static_cast<T*>(take());
        if (data_ == nullptr) return false;
        size_ = static_cast<std::size_t>(count);
        if constexpr (!std::is_trivially_default_constructible_v<T>) {
            std::uninitialized_value_construct_n(data_, size_);
        }
        return true;
    }

    /// Room for at least `count` elements; what was in it may be lost.
    [[nodiscard]] bool reserve(const Allocator& allocator, std::uint64_t count) noexcept {
        return count <= size_ || allocate(allocator, count);
    }

    /// Gives up the elements from `count` on; their memory stays.
    void shrink(std::size_t count) noexcept {
        if (count >= size_) return;
        std::destroy_n(data_ + count, size_ - count);
        size_ = count;
    }

    void clear() noexcept {
        if (data_ == nullptr) return;
        std::destroy_n(data_, size_);
        give_memory(allocator_, data_, bytes_, alignment());
        data_ = nullptr;
        size_ = 0;
    }

    [[nodiscard]] T* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] T& operator[](std::size_t i) const noexcept { return data_[i]; }
    [[nodiscard]] T* begin() const noexcept { return data_; }
    [[nodiscard]] T* end() const noexcept { return data_ + size_; }

private:
    static constexpr std::size_t huge_page = std::size_t{2} << 20;
    static constexpr std::size_t cache_line = 64;

    [[nodiscard]] bool is_large() const noexcept {
        return allocator_.allocate == nullptr && bytes_ >= 2 * huge_page;
    }
    [[nodiscard]] std::size_t alignment() const noexcept {
        static_assert(alignof(T) <= cache_line);
        return is_large() ? huge_page : cache_line;
    }

    [[nodiscard]] void* take() const noexcept {
        void* memory = take_memory(allocator_, bytes_, alignment());
#if defined(MADV_HUGEPAGE)
        // Advice only: a page fault costs as much as a pass over a small page. The rest of the
        // last huge page stays small, as it may belong to others.
        if (memory != nullptr && is_large()) {
            (void)::madvise(memory, bytes_ / huge_page * huge_page, MADV_HUGEPAGE);
        }
#endif
        return memory;
    }

    void swap(Buffer& other) noexcept {
        std::swap(allocator_, other.allocator_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(bytes_, other.bytes_);
    }

    Allocator allocator_;
    T* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t bytes_ = 0;
};

}  // namespace trlm::adapt
