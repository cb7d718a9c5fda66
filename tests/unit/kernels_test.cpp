// Every instruction set of this CPU against the plain C++ kernels, and these against numbers worked
// out by hand from docs/formats.md section 4.

#include "kernels/kernels.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "fp_environment.hpp"
#include "kernels/element.hpp"
#include "support/catch.hpp"

using namespace trlm::adapt;
using namespace trlm::adapt::kernels;

namespace {

using Floats = std::vector<float>;
using ByteVector = std::vector<std::byte>;
using Marks = std::vector<std::uint32_t>;
using Codes = std::vector<std::int8_t>;

/// Lengths around every vector width, and some longer ones.
const std::vector<std::size_t> lengths{1,  2,  3,  7,  8,  9,   15,  16,  17,  31,  32,   33,
                                       48, 63, 64, 65, 96, 127, 128, 130, 255, 257, 1000, 4099};

/// Values of every sort: plain, tiny, subnormal, huge, both zeros.
class Values {
public:
    explicit Values(unsigned seed) : random_(seed) {}

    float plain() { return normal_(random_) * 0.02F; }

    float any() {
        switch (random_() % 8) {
            case 0:
                return 0.0F;
            case 1:
                return -0.0F;
            case 2:
                return std::bit_cast<float>(static_cast<std::uint32_t>(random_() % 0x800000));
            case 3:
                return normal_(random_) * 1e30F;
            case 4:
                return normal_(random_) * 1e-30F;
            default:
                return plain();
        }
    }

    Floats many(std::size_t count, bool wild = false) {
        Floats values(count);
        for (float& value : values)
            value = wild ? any() : plain();
        return values;
    }

    Marks marks(std::size_t count, unsigned one_in) {
        Marks marks(count);
        for (auto& mark : marks)
            mark = random_() % one_in == 0 ? ~0U : 0U;
        return marks;
    }

    ByteVector bytes(std::size_t count) {
        ByteVector bytes(count);
        for (auto& byte : bytes)
            byte = static_cast<std::byte>(random_());
        return bytes;
    }

    Codes codes(std::size_t count, int lo, int hi) {
        Codes codes(count);
        std::uniform_int_distribution<int> code(lo, hi);
        for (auto& c : codes)
            c = static_cast<std::int8_t>(code(random_));
        return codes;
    }

    std::mt19937& random() { return random_; }

private:
    std::mt19937 random_;
    std::normal_distribution<float> normal_;
};

/// The bytes of floats, one byte off any alignment.
class Unaligned {
public:
    explicit Unaligned(const Floats& values) : bytes_(values.size() * 4 + 1) {
        if (!values.empty()) std::memcpy(bytes_.data() + 1, values.data(), values.size() * 4);
    }
    [[nodiscard]] const std::byte* data() const { return bytes_.data() + 1; }

private:
    ByteVector bytes_;
};

bool same_bits(const Floats& a, const Floats& b) {
    return a.size() == b.size() &&
           (a.empty() || std::memcmp(a.data(), b.data(), a.size() * 4) == 0);
}

/// Runs `check(table)` for every table but the plain one.
template <class Check>
void for_each_target(const Check& check) {
    const FpEnvironment environment;
    for (const Table* table : available()) {
        if (table == &scalar_table()) continue;
        INFO("target " << table->name);
        check(*table);
    }
}

struct Encoded {
    Codes codes;
    ByteVector scales;
    std::size_t stored = 0;
    std::vector<RowSurvival> survival;

    friend bool operator==(const Encoded& a, const Encoded& b) {
        return a.codes == b.codes && a.scales == b.scales && a.stored == b.stored &&
               a.survival.size() == b.survival.size() &&
               std::memcmp(a.survival.data(), b.survival.data(),
                           a.survival.size() * sizeof(RowSurvival)) == 0;
    }
};

}  // namespace

TEST_CASE("the plain kernels are always there, and last") {
    REQUIRE(!available().empty());
    CHECK(available().back() == &scalar_table());
    CHECK(find("scalar") == &scalar_table());
    CHECK(find("") == available().front());
    CHECK(find("none such") == nullptr);
}

TEST_CASE("the forced target is the one that runs") {
    for (const Table* table : available()) {
        REQUIRE(find(table->name) == table);
        if (table == &scalar_table()) continue;
        CHECK(table->add_dense != scalar_table().add_dense);
    }
    for (std::size_t i = 1; i < available().size(); ++i) {
        CHECK(available()[i - 1]->add_dense != available()[i]->add_dense);
    }
}

TEST_CASE("the first value that is not finite is found wherever it stands") {
    Values values(1);
    const FpEnvironment environment;
    const float bad[] = {
        std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
        std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
    for (const Table* table : available()) {
        INFO("target " << table->name);
        for (const std::size_t count : lengths) {
            Floats all = values.many(count, true);
            CHECK(table->first_non_finite(Unaligned(all).data(), count) == count);
            for (int n = 0; n < 10; ++n) {
                const std::size_t at = values.random()() % count;
                Floats broken = all;
                broken[at] = bad[values.random()() % 4];
                broken[count - 1] = bad[0];
                CHECK(table->first_non_finite(Unaligned(broken).data(), count) == at);
            }
        }
        const float largest = std::numeric_limits<float>::max();
        CHECK(table->first_non_finite(Unaligned(Floats(40, -largest)).data(), 40) == 40);
    }
}

TEST_CASE("the first scale out of bounds is found wherever it stands") {
    const FpEnvironment environment;
    const float bound = 0x1p121F;
    const float bad[] = {0.0F,
                         -0.0F,
                         -1.0F,
                         bound,
                         std::numeric_limits<float>::infinity(),
                         std::numeric_limits<float>::quiet_NaN()};
    const float smallest = std::numeric_limits<float>::denorm_min();
    for (const Table* table : available()) {
        INFO("target " << table->name);
        Floats scales(37, smallest);
        scales[5] = std::nextafter(bound, 0.0F);
        CHECK(table->first_bad_scale(Unaligned(scales).data(), 37, bound) == 37);
        for (std::size_t at = 0; at < 37; ++at) {
            for (const float value : bad) {
                Floats broken = scales;
                broken[at] = value;
                CHECK(table->first_bad_scale(Unaligned(broken).data(), 37, bound) == at);
            }
        }
    }
}

TEST_CASE("nibbles are two's-complement, the low one first") {
    const ByteVector packed{std::byte{0x80}, std::byte{0x7f}};
    for (const Table* table : available()) {
        Codes codes(4);
        table->unpack_nibbles(packed.data(), 4, codes.data());
        CHECK(codes == Codes{0, -8, -1, 7});
        ByteVector again(2);
        table->pack_nibbles(codes.data(), 4, again.data());
        CHECK(again == packed);
    }
}

TEST_CASE("every target packs and unpacks nibbles alike") {
    Values values(7);
    for_each_target([&](const Table& table) {
        for (std::size_t count = 2; count < 300; count += 2) {
            const ByteVector packed = values.bytes(count / 2 + 1);
            Codes expected(count);
            Codes got(count);
            scalar_table().unpack_nibbles(packed.data() + 1, count, expected.data());
            table.unpack_nibbles(packed.data() + 1, count, got.data());
            CHECK(got == expected);
            ByteVector again(count / 2);
            table.pack_nibbles(got.data(), count, again.data());
            CHECK(std::equal(again.begin(), again.end(), packed.begin() + 1));
        }
    });
}

TEST_CASE("decoding gives code times scale") {
    const FpEnvironment environment;
    const Codes codes{-128, -1, 0, 127};
    for (const Table* table : available()) {
        Floats w(4);
        table->decode(codes.data(), Unaligned({0.5F}).data(), 1, 4, w.data());
        CHECK(w == Floats{-64.0F, -0.5F, 0.0F, 63.5F});
    }
}

TEST_CASE("every target decodes alike") {
    Values values(2);
    for_each_target([&](const Table& table) {
        for (const std::size_t size : lengths) {
            const std::size_t groups = 3;
            const Codes codes = values.codes(groups * size, -128, 127);
            Floats scales = values.many(groups);
            for (float& scale : scales)
                scale = std::fabs(scale);
            scales[1] = 1e-42F;  // subnormal
            const Unaligned bytes(scales);
            Floats expected(groups * size);
            Floats got(groups * size);
            scalar_table().decode(codes.data(), bytes.data(), groups, size, expected.data());
            table.decode(codes.data(), bytes.data(), groups, size, got.data());
            CHECK(same_bits(got, expected));
        }
    });
}

TEST_CASE("a delta of zero leaves the bits alone") {
    const FpEnvironment environment;
    const Floats deltas{0.0F, -0.0F, 1.0F, -1.0F, 1e-45F};
    for (const Table* table : available()) {
        Floats w(5, -0.0F);
        Marks touched(5);
        // fl(0.25 * 1e-45) is zero, so the last element is not touched either.
        table->add_dense({Unaligned(deltas).data(), 0.25F}, 5, w.data(), touched.data());
        CHECK(same_bits(w, Floats{-0.0F, -0.0F, 0.25F, -0.25F, -0.0F}));
        CHECK(touched == Marks{0, 0, ~0U, ~0U, 0});
    }
}

TEST_CASE("every target adds dense deltas alike") {
    Values values(3);
    for_each_target([&](const Table& table) {
        for (const std::size_t count : lengths) {
            const Unaligned deltas(values.many(count, true));
            const Floats base = values.many(count, true);
            for (const float strength : {1.0F, -0.3F, 1e-30F, 3e38F}) {
                Floats expected = base;
                Floats got = base;
                Floats unmarked = base;
                Marks expected_marks(count);
                Marks marks(count);
                const DenseOperand operand{deltas.data(), strength};
                const std::uint32_t largest = scalar_table().add_dense(
                    operand, count, expected.data(), expected_marks.data());
                CHECK(table.add_dense(operand, count, got.data(), marks.data()) == largest);
                CHECK(table.add_dense(operand, count, unmarked.data(), nullptr) == largest);
                CHECK(same_bits(got, expected));
                CHECK(same_bits(unmarked, expected));
                CHECK(marks == expected_marks);
            }
        }
    });
}

TEST_CASE("bits spread values over their places") {
    Values values(8);
    const Floats stored = values.many(400, true);
    for (const Table* table : available()) {
        INFO("target " << table->name);
        for (std::size_t count = 0; count < 300; ++count) {
            const ByteVector mask = values.bytes(40);
            std::size_t set = 0;
            Floats expected(count);
            for (std::size_t i = 0; i < count; ++i) {
                const unsigned byte = std::to_integer<unsigned>(mask[i / 8]);
                if ((byte >> i % 8 & 1U) != 0) expected[i] = stored[set++];
            }
            // Not one value more than there are may be read.
            const Floats exactly(stored.begin(), stored.begin() + static_cast<std::ptrdiff_t>(set));
            Floats got(count, 1.0F);
            CHECK(table->expand_bits(mask.data(), count, Unaligned(exactly).data(), set,
                                     got.data()) == set);
            CHECK(same_bits(got, expected));
        }
    }
}

TEST_CASE("the bits of a mask are counted and found in order") {
    Values values(9);
    for (const Table* table : available()) {
        INFO("target " << table->name);
        for (std::size_t bytes = 0; bytes < 40; ++bytes) {
            // All bits, none, and some.
            ByteVector some = values.bytes(bytes);
            for (std::size_t i = 0; i < bytes / 2; ++i)
                some[i] &= values.bytes(1)[0] & values.bytes(1)[0];
            for (const ByteVector& mask :
                 {ByteVector(bytes, std::byte{0xff}), ByteVector(bytes), some}) {
                std::vector<std::uint32_t> expected;
                for (std::uint32_t i = 0; i < 8 * bytes; ++i) {
                    if ((std::to_integer<unsigned>(mask[i / 8]) >> i % 8 & 1U) != 0) {
                        expected.push_back(i);
                    }
                }
                CHECK(table->count_bits(mask.data(), bytes) == expected.size());
                std::vector<std::uint32_t> found(index_room(bytes));
                found.resize(table->find_bits(mask.data(), bytes, found.data()));
                CHECK(found == expected);
            }
        }
    }
}

Floats packed_panels(const Unaligned& a, std::size_t rank, std::size_t cols) {
    Floats packed(packed_elements(rank, cols));
    pack_panels(a.data(), rank, cols, packed.data());
    return packed;
}

TEST_CASE("low-rank deltas are c times the sum over k in order") {
    const FpEnvironment environment;
    // Column 0: 2^24 + 1 + 1 from the left is 2^24; from the right it would be 2^24 + 2.
    const Floats a{16777216.0F, 1.0F, 1.0F, 2.0F, 1.0F, 1.0F};  // [3, 2]
    const Floats b{1.0F, 1.0F, 1.0F, 0.0F, 0.0F, 0.0F};         // [2, 3]
    const Floats packed = packed_panels(Unaligned(a), 3, 2);
    for (const Table* table : available()) {
        INFO("target " << table->name);
        Floats w(4, -0.0F);
        Marks touched(4);
        const Unaligned b_bytes(b);
        const std::vector<LowRankOperand> operands{{packed.data(), b_bytes.data(), 3, 0.5F}};
        table->add_low_rank(operands, 2, 2, w.data(), touched.data());
        CHECK(w[0] == 8388608.0F);
        CHECK(w[1] == 2.0F);
        CHECK(same_bits({w[2], w[3]}, {-0.0F, -0.0F}));
        CHECK(touched == Marks{~0U, ~0U, 0, 0});
    }
}

TEST_CASE("every target adds low-rank deltas alike") {
    Values values(4);
    for_each_target([&](const Table& table) {
        for (const std::size_t cols : {1U, 15U, 16U, 17U, 33U, 64U}) {
            for (const std::size_t rank : {1U, 2U, 3U, 8U, 17U}) {
                for (const std::size_t rows : {1U, 2U, 5U, 12U, 15U, 25U}) {
                    const Unaligned a(values.many(rank * cols, true));
                    const Unaligned b(values.many(rows * rank));
                    const Floats packed = packed_panels(a, rank, cols);
                    const LowRankOperand operand{packed.data(), b.data(), rank, 0.7F};
                    const LowRankOperand other{packed.data(), b.data(), rank, -1e-3F};
                    const std::vector<LowRankOperand> operands{operand, other};
                    const Floats base = values.many(rows * cols, true);
                    Floats expected = base;
                    Floats got = base;
                    Floats unmarked = base;
                    Marks expected_marks(rows * cols);
                    Marks marks(rows * cols);
                    const std::uint32_t largest = scalar_table().add_low_rank(
                        operands, rows, cols, expected.data(), expected_marks.data());
                    CHECK(table.add_low_rank(operands, rows, cols, got.data(), marks.data()) ==
                          largest);
                    CHECK(table.add_low_rank(operands, rows, cols, unmarked.data(), nullptr) ==
                          largest);
                    CHECK(same_bits(got, expected));
                    CHECK(same_bits(unmarked, expected));
                    CHECK(marks == expected_marks);
                    scalar_table().multiply_low_rank(operand, rows, cols, expected.data());
                    table.multiply_low_rank(operand, rows, cols, got.data());
                    CHECK(same_bits(got, expected));
                }
            }
        }
    });
}

TEST_CASE("nearest rounding fits the scale to the largest value") {
    const FpEnvironment environment;
    for (const Table* table : available()) {
        INFO("target " << table->name);
        const Floats w{127.0F, -63.5F, 0.5F, 1.5F, -2.5F, 0.49F};
        Codes codes(6);
        ByteVector scales(4);
        GroupTile tile;
        tile.w = w.data();
        tile.codes = codes.data();
        tile.scales = scales.data();
        tile.groups = 1;
        tile.group_size = 6;
        REQUIRE(table->encode_q8(tile) == 1);
        CHECK(load_f32(scales.data(), 0) == 1.0F);
        const int expected[] = {127, -64, 0, 2, -2, 0};  // halves go to the even code
        for (std::size_t i = 0; i < 6; ++i) {
            CHECK(codes[i] == expected[i]);
        }
        // q4_0: pos/7 = 127/7 against neg/8 = 63.5/8; inv = 7/127.
        REQUIRE(table->encode_q4(tile) == 1);
        CHECK(load_f32(scales.data(), 0) == 127.0F / 7.0F);
        const int nibbles[] = {7, -4, 0, 0, 0, 0};  // -3.5 goes to the even code -4
        for (std::size_t i = 0; i < 6; ++i)
            CHECK(codes[i] == nibbles[i]);
    }
}

TEST_CASE("a group of zeros gets the smallest scale") {
    const FpEnvironment environment;
    for (const Table* table : available()) {
        const Floats w(32, -0.0F);
        Codes codes(32, 1);
        ByteVector scales(4);
        GroupTile tile;
        tile.w = w.data();
        tile.codes = codes.data();
        tile.scales = scales.data();
        tile.groups = 1;
        tile.group_size = 32;
        REQUIRE(table->encode_q8(tile) == 1);
        CHECK(load_f32(scales.data(), 0) == 0x1p-126F);
        CHECK(codes == Codes(32));
    }
}

TEST_CASE("a group that cannot be stored is named") {
    const FpEnvironment environment;
    for (const Table* table : available()) {
        INFO("target " << table->name);
        for (const float value : {std::numeric_limits<float>::infinity(),
                                  std::numeric_limits<float>::quiet_NaN(), 3.4e38F}) {
            for (const std::size_t at : {0U, 1U, 31U, 33U}) {
                Floats w(3 * 34, 1.0F);
                w[34 + at] = value;
                Codes codes(3 * 34);
                ByteVector scales(12);
                GroupTile tile;
                tile.w = w.data();
                tile.codes = codes.data();
                tile.scales = scales.data();
                tile.groups = 3;
                tile.group_size = 34;
                CHECK(table->encode_q8(tile) == 1);
                CHECK(table->encode_q4(tile) == 1);
            }
        }
    }
}

TEST_CASE("random numbers depend on seed, tensor and element only") {
    // Numbers from an independent calculation in Python.
    CHECK(mix(1) == 0x688990c0U);
    CHECK(mix(0xdeadbeefU) == 0xe628c683U);
    const std::uint64_t key = 0x0123456789abcdefULL;
    CHECK(uniform(key, 0) == 1860260.0F * 0x1p-24F);
    CHECK(uniform(key, 1) == 16066993.0F * 0x1p-24F);
    CHECK(uniform(key, 0xffffffffULL) == 2298777.0F * 0x1p-24F);
    CHECK(uniform(key, 0x100000000ULL) == 10072956.0F * 0x1p-24F);
}

TEST_CASE("every target encodes alike, from operands and from values") {
    Values values(5);
    const std::size_t groups = 4;
    // How far the values of each group move, in steps of its scale.
    const float reach[groups] = {20.0F, 0.3F, 20.0F, 1.0F};
    for_each_target([&](const Table& table) {
        for (const std::size_t size : lengths) {
            for (const auto mode :
                 {RoundingMode::nearest, RoundingMode::stochastic, RoundingMode::adaptive}) {
                for (const unsigned one_in : {1U, 3U, 200U}) {
                    const std::size_t count = groups * size;
                    Floats scales = values.many(groups);
                    for (float& scale : scales)
                        scale = std::fabs(scale) + 1e-6F;
                    scales[3] = 1e-44F;  // 1/scale is infinite
                    const Unaligned old_scales(scales);
                    const Marks marks = values.marks(count, one_in);
                    Floats first = values.many(count);
                    Floats second = values.many(count);
                    for (std::size_t i = 0; i < count; ++i) {
                        const float step = scales[i / size] * reach[i / size] * 50.0F;
                        first[i] = marks[i] == 0 ? 0.0F : first[i] * step;
                        second[i] = marks[i] == 0 ? -0.0F : second[i] * step;
                    }
                    const Unaligned first_bytes(first);
                    const Unaligned second_bytes(second);
                    const std::vector<DenseOperand> operands{{first_bytes.data(), 1.0F},
                                                             {second_bytes.data(), -0.7F}};
                    for (const bool q8 : {true, false}) {
                        const Codes old_codes =
                            q8 ? values.codes(count, -128, 127) : values.codes(count, -8, 7);
                        Floats old(count);
                        scalar_table().decode(old_codes.data(), old_scales.data(), groups, size,
                                              old.data());
                        Floats w = old;
                        Marks touched(count);
                        for (const DenseOperand& operand : operands) {
                            scalar_table().add_dense(operand, count, w.data(), touched.data());
                        }
                        const auto run = [&](const Table& with, bool given) {
                            Encoded encoded{Codes(count), ByteVector(groups * 4), 0, {}};
                            Floats group(buffer_elements(size));
                            GroupTile tile;
                            tile.old_codes = old_codes.data();
                            tile.old_scales = old_scales.data();
                            tile.codes = encoded.codes.data();
                            tile.scales = encoded.scales.data();
                            tile.groups = groups;
                            tile.group_size = size;
                            // The low half of the index wraps inside the tile.
                            tile.first_element = 0x300000000ULL - size - size / 2;
                            tile.mode = mode;
                            tile.key = 0x9e3779b97f4a7c15ULL;
                            if (given) {
                                tile.w = w.data();
                                tile.touched = touched.data();
                            } else {
                                tile.operands = operands;
                                tile.buffer = group.data();
                            }
                            encoded.stored = q8 ? with.encode_q8(tile) : with.encode_q4(tile);
                            for (std::size_t row = 0; row < groups; ++row) {
                                encoded.survival.push_back(with.survival(tile, row, size));
                            }
                            // The same groups as blocks of one row.
                            encoded.survival.push_back(with.survival(tile, 0, count));
                            return encoded;
                        };
                        INFO("size " << size << " mode " << static_cast<int>(mode) << " one in "
                                     << one_in << " q8 " << q8);
                        const Encoded expected = run(scalar_table(), true);
                        CHECK(expected.stored == groups);
                        CHECK(run(scalar_table(), false) == expected);
                        CHECK(run(table, true) == expected);
                        CHECK(run(table, false) == expected);
                    }
                }
            }
        }
    });
}

TEST_CASE("every target measures survival of f32 alike") {
    Values values(6);
    for_each_target([&](const Table& table) {
        for (const std::size_t cols : lengths) {
            const Floats old = values.many(2 * cols, true);
            Floats delta = values.many(2 * cols, true);
            const Marks marks = values.marks(2 * cols, 2);
            for (std::size_t i = 0; i < delta.size(); ++i) {
                if (marks[i] == 0) delta[i] = -0.0F;
            }
            const Unaligned old_bytes(old);
            const Unaligned delta_bytes(delta);
            Floats w = old;
            Marks touched(2 * cols);
            const std::vector<DenseOperand> operands{{delta_bytes.data(), 0.5F}};
            scalar_table().add_dense(operands[0], 2 * cols, w.data(), touched.data());
            GroupTile tile;
            tile.old_values = old_bytes.data();
            tile.operands = operands;
            GroupTile given = tile;
            given.operands = {};
            given.w = w.data();
            given.touched = touched.data();
            for (const std::size_t row : {0U, 1U}) {
                const RowSurvival expected = scalar_table().survival(given, row, cols);
                for (const GroupTile& each : {tile, given}) {
                    const RowSurvival got = table.survival(each, row, cols);
                    CHECK(std::memcmp(&got, &expected, sizeof got) == 0);
                }
            }
        }
    });
}

TEST_CASE("survival sums go by columns modulo eight") {
    const FpEnvironment environment;
    const Floats old(17, 0.0F);
    Floats w(17, 0.0F);
    // Squares 1 and 2^-54 meet in column 0's partial sum, where the latter is rounded away each
    // time; in the order of the columns they would have added up first.
    w[0] = 1.0F;
    w[8] = 0x1p-27F;
    w[16] = 0x1p-27F;
    w[1] = 0x1p-27F;
    const Marks touched(17, ~0U);
    for (const Table* table : available()) {
        GroupTile tile;
        const Unaligned old_bytes(old);
        tile.old_values = old_bytes.data();
        tile.w = w.data();
        tile.touched = touched.data();
        const RowSurvival row = table->survival(tile, 0, 17);
        CHECK(row.intended_squared == 1.0);
        CHECK(row.intended_effective == 1.0);
        CHECK(row.touched == 17);
        CHECK(row.changed == 4);
        CHECK(row.max_abs_delta == 1.0);
        CHECK(row.error_squared == 0.0);
    }
}

namespace {

/// 1 + 2^-30, computed now: 1 when rounding to nearest, above 1 when rounding up.
float one_and_a_bit() {
    volatile float one = 1.0F;
    volatile float bit = 0x1p-30F;
    return one + bit;
}

/// Half the smallest normal number, computed now: 0 when subnormals are flushed.
float half_of_smallest_normal() {
    volatile float smallest = 0x1p-126F;
    return smallest * 0.5F;
}

}  // namespace

TEST_CASE("the arithmetic has its own floating-point settings, and the host's come back") {
    const int before = std::fegetround();
    std::fesetround(FE_UPWARD);
    CHECK(one_and_a_bit() > 1.0F);
    {
        const FpEnvironment environment;
        CHECK(one_and_a_bit() == 1.0F);
    }
    CHECK(one_and_a_bit() > 1.0F);
    std::fesetround(before);
    CHECK(one_and_a_bit() == 1.0F);
}

#if defined(__SSE2__)
TEST_CASE("a host that flushes subnormals is left so, and the arithmetic keeps them") {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);  // FTZ and DAZ
    CHECK(half_of_smallest_normal() == 0.0F);
    {
        const FpEnvironment environment;
        CHECK(half_of_smallest_normal() != 0.0F);
    }
    CHECK(half_of_smallest_normal() == 0.0F);
    _mm_setcsr(before);
}
#endif
