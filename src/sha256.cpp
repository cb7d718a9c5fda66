// SHA-256 by OpenSSL, which knows the instructions that the machine has for it.

#include <openssl/evp.h>

#include "guard.hpp"
#include "trlm/adapt/digest.hpp"

namespace trlm::adapt {

struct Sha256::State {
    State() : context(EVP_MD_CTX_new()) {
        if (context == nullptr) throw_out_of_memory();
        ok = EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1;
    }
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { EVP_MD_CTX_free(context); }

    EVP_MD_CTX* context;
    bool ok = false;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(Bytes bytes) noexcept {
    State& state = *state_;
    state.ok = state.ok && EVP_DigestUpdate(state.context, bytes.data(), bytes.size()) == 1;
}

Digest Sha256::finish() noexcept {
    State& state = *state_;
    Digest digest;
    static_assert(sizeof(digest.bytes) == 32);
    auto* const out = reinterpret_cast<unsigned char*>(digest.bytes.data());
    state.ok = state.ok && EVP_DigestFinal_ex(state.context, out, nullptr) == 1;
    // A digest of zeros matches no file, so a failure of OpenSSL never lets a wrong file pass.
    return state.ok ? digest : Digest{};
}

}  // namespace trlm::adapt
