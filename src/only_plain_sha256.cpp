// The choice of SHA-256 where OpenSSL is not there.

#include "plain_sha256.hpp"

namespace trlm::adapt {

struct Sha256::State {
    PlainSha256 hasher;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(Bytes bytes) noexcept {
    state_->hasher.update(bytes);
}

Digest Sha256::finish() noexcept {
    return state_->hasher.finish();
}

}  // namespace trlm::adapt
