#include "faults/failing_heap.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

// The calls allocate on this thread alone; others may give back.
long long until_failure = -1;  // allocations that still work; negative: all
bool fails_once = false;
std::atomic<long long> pieces_out = 0;

void* take(std::size_t bytes, std::size_t alignment) {
    if (until_failure == 0) {
        if (fails_once) until_failure = -1;
        return nullptr;
    }
    if (until_failure > 0) --until_failure;
    ++pieces_out;
    if (bytes == 0) bytes = 1;
    return alignment <= alignof(std::max_align_t)
               ? std::malloc(bytes)
               : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* take_or_throw(std::size_t bytes, std::size_t alignment) {
    void* memory = take(bytes, alignment);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

void give(void* memory) noexcept {
    if (memory != nullptr) --pieces_out;
    std::free(memory);
}

constexpr std::size_t usual = alignof(std::max_align_t);

}  // namespace

void* operator new(std::size_t bytes) {
    return take_or_throw(bytes, usual);
}
void* operator new[](std::size_t bytes) {
    return take_or_throw(bytes, usual);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return take_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return take(bytes, usual);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return take(bytes, usual);
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return take(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
    give(memory);
}
void operator delete[](void* memory) noexcept {
    give(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    give(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    give(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    give(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    give(memory);
}

namespace trlm::adapt::failing_heap {

void fail(const std::string& call, long long at, const std::string& what) {
    std::fprintf(stderr, "%s, allocation %lld: %s\n", call.c_str(), at, what.c_str());
    std::exit(1);
}

Verdict verdict_of(const Findings& findings) {
    if (!findings.has_errors()) return std::nullopt;
    for (std::size_t i = 0; i < findings.size(); ++i) {
        if (findings[i].code == FindingCode::out_of_memory) return findings[i].code;
    }
    if (!findings.empty()) return findings[0].code;
    return findings.exit_code() == ExitCode::cannot_check ? FindingCode::out_of_memory
                                                          : FindingCode::usage_error;
}

namespace {

/// Allocations of a call in which none fails.
long long allocations_of(const std::function<Verdict()>& act, const std::function<void()>& revert) {
    constexpr long long plenty = 1'000'000'000;
    fails_once = false;
    until_failure = plenty;
    const Verdict verdict = act();
    const long long used = plenty - until_failure;
    until_failure = -1;
    if (!verdict) revert();
    return used;
}

}  // namespace

void exhaust(const std::string& call, const std::function<Verdict()>& act,
             const std::function<void()>& revert, const std::function<bool()>& is_unchanged,
             long long most) {
    constexpr long long first = 50;
    const long long step = std::max(1LL, allocations_of(act, revert) / most);
    for (const bool once : {true, false}) {
        long long failures = 0;
        for (long long at = 0;; at += at < first ? 1 : step) {
            const long long before = pieces_out;
            fails_once = once;
            until_failure = at;
            const Verdict verdict = act();
            const bool had_failed = until_failure == (once ? -1 : 0);
            until_failure = -1;
            if (!verdict) {
                revert();
                // One that fails may be for a warning, which is left out.
                if (!had_failed) break;
                continue;
            }
            ++failures;
            if (*verdict != FindingCode::out_of_memory) {
                fail(call, at, "it says " + std::string(finding_info(*verdict).name));
            }
            if (!is_unchanged()) fail(call, at, "something has changed");
            if (pieces_out != before) fail(call, at, "memory was not given back");
            if (at > 1'000'000) fail(call, at, "it never works");
        }
        std::printf("%-28s %s: %lld failures\n", call.c_str(), once ? "one" : "all", failures);
        if (failures == 0) fail(call, 0, "no allocation was seen");
    }
}

}  // namespace trlm::adapt::failing_heap
