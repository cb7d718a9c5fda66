#include "trlm/adapt/tensor.hpp"

#include <cmath>
#include <limits>

#include "support/catch.hpp"

using namespace trlm::adapt;

TEST_CASE("names are hashed with FNV-1a 64") {
    // The published vectors of the algorithm.
    CHECK(tensor_name_hash("") == 0xcbf29ce484222325);
    CHECK(tensor_name_hash("a") == 0xaf63dc4c8601ec8c);
    CHECK(tensor_name_hash("foobar") == 0x85944171f73967e8);
    CHECK(tensor_name_hash("layers.0.wq.weight") == 0x2e1920bdb77012a5);
    // A byte above 127 counts as itself.
    CHECK(tensor_name_hash("\xc3\xa9") == 0x0ac21707b7181e01);
}

TEST_CASE("a tensor is called by its name, or by its hash") {
    CHECK(tensor_label("norm.weight", 1) == "norm.weight");
    CHECK(tensor_label("", 0x3039) == "0x0000000000003039");
}

TEST_CASE("storages have names") {
    CHECK(to_string(Dtype::f32) == "f32");
    CHECK(to_string(Dtype::q8_0) == "q8_0");
    CHECK(to_string(Dtype::q4_0) == "q4_0");
    CHECK(to_string(Dtype{9}) == "unsupported");
    CHECK(is_supported(Dtype::q4_0));
    CHECK_FALSE(is_supported(Dtype{0}));
    CHECK_FALSE(is_supported(Dtype{4}));
}

TEST_CASE("rows are all dimensions but the last") {
    const Shape vector{1, {64, 1, 1, 1}};
    CHECK(vector.rows() == 1);
    CHECK(vector.cols() == 64);
    CHECK(vector.elements().value() == 64);
    CHECK(to_string(vector) == "[64]");

    const Shape block{4, {2, 3, 5, 7}};
    CHECK(block.rows() == 30);
    CHECK(block.cols() == 7);
    CHECK(block.elements().value() == 210);
    CHECK(to_string(block) == "[2, 3, 5, 7]");

    CHECK(Shape{}.cols() == 0);
    CHECK(to_string(Shape{}) == "[]");
}

TEST_CASE("the number of elements does not wrap") {
    const Shape large{3, {1U << 31, 1U << 31, 2, 1}};
    CHECK(large.elements().value() == std::uint64_t{1} << 63);
    const Shape wraps{4, {1U << 31, 1U << 31, 2, 2}};
    CHECK(wraps.elements().overflowed());
    CHECK(payload_bytes(Dtype::f32, large).overflowed());
    CHECK(payload_bytes(Dtype::q8_0, wraps).overflowed());
    CHECK(payload_bytes(Dtype::q4_0, wraps).overflowed());
}

TEST_CASE("payloads take four bytes, one byte or half a byte an element") {
    const Shape shape{2, {6, 64, 1, 1}};
    CHECK(payload_bytes(Dtype::f32, shape).value() == 1536);
    CHECK(payload_bytes(Dtype::q8_0, shape).value() == 384);
    CHECK(payload_bytes(Dtype::q4_0, shape).value() == 192);
}

TEST_CASE("there is a scale for each row or each block") {
    const Shape shape{3, {2, 3, 64, 1}};
    CHECK(scale_count(Dtype::f32, shape, 0).value() == 0);
    CHECK(scale_count(Dtype::q8_0, shape, 64).value() == 6);
    CHECK(scale_count(Dtype::q4_0, shape, 32).value() == 12);
    CHECK(scale_count(Dtype::q4_0, shape, 64).value() == 6);
    CHECK(scale_count(Dtype::q4_0, shape, 0).value() == 0);
}

TEST_CASE("the block that is written is the largest even divisor of a row up to 32") {
    const auto q4_block = [](std::uint32_t cols) {
        return canonical_block_size(Dtype::q4_0, Shape{1, {cols, 1, 1, 1}});
    };
    CHECK(q4_block(2) == 2);
    CHECK(q4_block(12) == 12);
    CHECK(q4_block(32) == 32);
    CHECK(q4_block(34) == 2);
    CHECK(q4_block(40) == 20);
    CHECK(q4_block(48) == 24);
    CHECK(q4_block(62) == 2);
    CHECK(q4_block(64) == 32);
    CHECK(q4_block(66) == 22);
    CHECK(q4_block(33) == 0);
    CHECK(q4_block(0) == 0);
    CHECK(canonical_block_size(Dtype::q8_0, Shape{2, {3, 33, 1, 1}}) == 33);
    CHECK(canonical_block_size(Dtype::f32, Shape{2, {3, 32, 1, 1}}) == 0);
}

TEST_CASE("no code of a scale below the bound decodes to infinity") {
    CHECK(scale_bound(Dtype::q8_0) == std::ldexp(1.0F, 121));
    CHECK(scale_bound(Dtype::q4_0) == std::ldexp(1.0F, 125));
    CHECK(std::isfinite(-128.0F * std::nextafter(scale_bound(Dtype::q8_0), 0.0F)));
    CHECK(std::isfinite(-8.0F * std::nextafter(scale_bound(Dtype::q4_0), 0.0F)));
    CHECK(std::isinf(-128.0F * scale_bound(Dtype::q8_0)));
    CHECK(std::isinf(-8.0F * scale_bound(Dtype::q4_0)));
}
