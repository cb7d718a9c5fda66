#include "trlm/adapt/survival.hpp"

#include "support/catch.hpp"

using namespace trlm::adapt;

namespace {

TensorSurvival sums(double intended_effective, double intended_squared, double effective_squared,
                    double error_squared) {
    TensorSurvival survival;
    survival.elements = 4;
    survival.intended_effective = intended_effective;
    survival.intended_squared = intended_squared;
    survival.effective_squared = effective_squared;
    survival.error_squared = error_squared;
    return survival;
}

}  // namespace

TEST_CASE("survival figures follow from their sums") {
    // i = (2, 0, 0, 0), e = (1, 1, 0, 0): <i,e> = 2, |i|^2 = 4, |e|^2 = 2, |e-i|^2 = 2.
    const TensorSurvival survival = sums(2, 4, 2, 2);
    CHECK(survival.kept() == 0.5);
    CHECK(survival.rms_delta() == 1.0);
    CHECK(survival.cosine() == Approx(0.70710678));
    REQUIRE(survival.snr_db());
    CHECK(*survival.snr_db() == Approx(3.0103));
}

TEST_CASE("nothing intended or nothing arrived is told apart from figures") {
    CHECK(sums(0, 0, 0, 0).kept() == 0.0);
    CHECK(sums(0, 0, 0, 0).cosine() == 0.0);
    CHECK(!sums(0, 0, 0, 0).snr_db());
    CHECK(sums(0, 4, 0, 4).cosine() == 0.0);
    CHECK(*sums(0, 4, 0, 4).snr_db() == 0.0);
    CHECK(!sums(4, 4, 4, 0).snr_db());
    CHECK(TensorSurvival{}.rms_delta() == 0.0);
}

TEST_CASE("kept of a stack weighs tensors by their deltas") {
    const TensorSurvival tensors[] = {sums(1, 1, 1, 0), sums(0, 3, 0, 3)};
    CHECK(kept_of_stack(tensors) == 0.25);
    CHECK(kept_of_stack({}) == 0.0);
}
