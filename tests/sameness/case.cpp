#include "case.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt::sameness {
namespace {

using ByteVector = std::vector<std::byte>;

/// A value, or the run ends with what was wrong.
template <class T>
T must(Result<T> result, const char* what) {
    if (!result) throw std::runtime_error(std::string(what) + ": " + result.error()[0].message);
    return std::move(*result);
}

/// The order of the draws decides everything: no expression draws twice where C++ leaves open which
/// operand comes first.
class Random {
public:
    Random(std::uint64_t seed, std::uint64_t number)
        : state_(seed * 0xd1342543de82ef95ULL + number * 0x9e3779b97f4a7c15ULL) {
        for (int i = 0; i < 4; ++i)
            bits();
    }

    std::uint32_t bits() {
        state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
        const std::uint64_t mixed = (state_ ^ state_ >> 29) * 0xbf58476d1ce4e5b9ULL;
        return static_cast<std::uint32_t>(mixed >> 32);
    }

    std::uint32_t below(std::uint32_t count) { return bits() % count; }
    std::uint32_t between(std::uint32_t least, std::uint32_t most) {
        return least + below(most - least + 1);
    }
    bool one_in(std::uint32_t count) { return below(count) == 0; }

private:
    std::uint64_t state_;
};

/// What values a tensor or a delta is made of.
enum class Sort { plain, wild, tiny, huge, zero };

Sort any_sort(Random& random) {
    switch (random.below(12)) {
        case 0:
            return Sort::tiny;
        case 1:
            return Sort::huge;
        case 2:
            return Sort::zero;
        case 3:
        case 4:
        case 5:
            return Sort::wild;
        default:
            return Sort::plain;
    }
}

constexpr std::uint32_t largest_exponent = 254;  // biased, of finite values

float assemble(Random& random, std::uint32_t exponent, bool negative) {
    const std::uint32_t mantissa = random.bits() >> 9;
    return std::bit_cast<float>((negative ? 1U << 31 : 0U) | exponent << 23 | mantissa);
}

/// About evenly spread below 2^(exponent - 126), as weights are.
float spread(Random& random, std::uint32_t exponent, bool negative) {
    const auto smaller = static_cast<std::uint32_t>(std::countl_zero(random.bits() | 1U));
    return assemble(random, exponent - std::min(smaller, exponent), negative);
}

/// A value of that sort; a plain one is about `size` powers of two below 1.
float value(Random& random, Sort sort, std::uint32_t size) {
    const bool negative = random.one_in(2);
    switch (sort) {
        case Sort::plain:
            return spread(random, 126 - size, negative);
        case Sort::tiny:  // half of them subnormal
            return assemble(random, random.one_in(2) ? 0 : random.below(24), negative);
        case Sort::huge:
            return assemble(random, random.between(220, largest_exponent - 1), negative);
        case Sort::zero:
            return negative ? -0.0F : 0.0F;
        case Sort::wild:
            break;
    }
    switch (random.below(24)) {
        case 0:
            return value(random, Sort::huge, size);
        case 1:
        case 2:
        case 3:
        case 4:
            return value(random, Sort::zero, size);
        case 5:
        case 6:
        case 7:
            return value(random, Sort::tiny, size);
        default:
            return value(random, Sort::plain, size);
    }
}

std::vector<float> values(Random& random, std::uint64_t count, Sort sort, std::uint32_t size) {
    std::vector<float> values(count);
    for (float& v : values)
        v = value(random, sort, size);
    return values;
}

/// A divisor of `cols` that is even and at most `most`; `cols` is even.
std::uint32_t even_divisor(Random& random, std::uint32_t cols, std::uint32_t most) {
    std::vector<std::uint32_t> divisors;
    for (std::uint32_t d = 2; d <= std::min(cols, most); d += 2) {
        if (cols % d == 0) divisors.push_back(d);
    }
    return divisors[random.below(static_cast<std::uint32_t>(divisors.size()))];
}

/// Every even block size comes up in turn: `block` often divides hidden_size or ffn_size.
ModelShape any_shape(Random& random, std::uint32_t block) {
    ModelShape shape;
    shape.vocab_size = 260;
    shape.max_context = 16;
    shape.rope_theta = 10000;
    shape.rms_norm_epsilon = 0x1p-17F;
    shape.layer_count = random.one_in(4) ? 2 : 1;
    shape.kv_head_count = random.between(1, 2);
    shape.head_count = shape.kv_head_count * random.between(1, 2);
    shape.head_dim = random.between(1, 20);
    shape.ffn_size = random.one_in(2) ? block * random.between(1, 2) : random.between(1, 70);
    switch (random.below(16)) {
        case 0:  // rows longer than a tile of the library
            shape.hidden_size = random.between(1, 2);
            shape.ffn_size = random.between(16'380, 16'500);
            break;
        case 1:  // many tiles
            shape.hidden_size = random.between(64, 150);
            break;
        case 2:
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
            shape.hidden_size = random.between(1, 40);
            break;
        default:
            shape.hidden_size = block * random.between(1, 1 + 20 / block);
    }
    return shape;
}

TensorStorage any_storage(Random& random, Dtype wanted, const Shape& shape, std::uint32_t block) {
    const auto cols = static_cast<std::uint32_t>(shape.cols());
    if (wanted == Dtype::q4_0 && cols % 2 == 0) {
        const bool fits = cols % block == 0 && !random.one_in(4);
        return {wanted, fits ? block : even_divisor(random, cols, cols)};
    }
    if (wanted == Dtype::q4_0) wanted = random.one_in(2) ? Dtype::q8_0 : Dtype::f32;
    return {wanted, wanted == Dtype::q8_0 ? cols : 0};
}

/// A scale that a reader takes: positive, and below the bound of its storage.
float any_scale(Random& random, Sort sort, Dtype dtype) {
    const std::uint32_t bound = std::bit_cast<std::uint32_t>(scale_bound(dtype)) >> 23;
    switch (sort) {
        case Sort::plain:
            return assemble(random, random.between(105, 120), false);
        case Sort::huge:
            return assemble(random, bound - random.between(1, 6), false);
        case Sort::zero:
            return std::bit_cast<float>(1U);  // the smallest of all
        case Sort::tiny:
            return std::bit_cast<float>(
                std::bit_cast<std::uint32_t>(assemble(random, random.below(3), false)) | 1U);
        case Sort::wild:
            break;
    }
    const Sort sorts[] = {Sort::plain, Sort::plain, Sort::plain,
                          Sort::tiny,  Sort::zero,  Sort::huge};
    return any_scale(random, sorts[random.below(random.one_in(8) ? 6 : 5)], dtype);
}

/// A model with codes and scales that no encoder would choose.
ByteVector raw_model(Random& random, const ModelSpec& spec, const std::vector<Sort>& sorts) {
    const ModelLayout layout = must(layout_model(spec), "layout_model");
    ByteVector file = layout.head;
    file.resize(layout.file_length);
    for (std::size_t t = 0; t < layout.tensors.size(); ++t) {
        const ModelTensor& tensor = layout.tensors[t];
        for (std::uint64_t at = 0; at < tensor.payload_length;) {
            if (tensor.dtype == Dtype::f32) {
                store(MutableBytes(file), tensor.payload_offset + at, value(random, sorts[t], 4));
                at += sizeof(float);
            } else {
                file[tensor.payload_offset + at++] = static_cast<std::byte>(random.bits());
            }
        }
        for (std::uint64_t at = 0; at < tensor.scale_length; at += sizeof(float)) {
            store(MutableBytes(file), tensor.scale_offset + at,
                  any_scale(random, sorts[t], tensor.dtype));
        }
    }
    store(MutableBytes(file), slm1_checksum_offset, checksum_of(file));
    return file;
}

ByteVector encoded_model(Random& random, const ModelSpec& spec, const std::vector<Sort>& sorts) {
    const auto tensors = expected_tensors(spec.shape, spec.flags);
    std::vector<float> current;
    const auto of_tensor = [&](std::size_t i) {
        current = values(random, tensors[i].shape.elements().value(), sorts[i], 4);
        return std::span<const float>(current);
    };
    return must(write_model(spec, of_tensor), "write_model");
}

ByteVector any_model(Random& random, std::uint64_t number) {
    const std::uint32_t block = 2 + 2 * static_cast<std::uint32_t>(number % 32);
    const ByteVector tokenizer = write_btok();
    ModelSpec spec;
    spec.shape = any_shape(random, block);
    spec.flags = random.one_in(2) ? model_flag_tied_output : 0;
    spec.tokenizer_section = tokenizer;
    const Dtype dtypes[] = {Dtype::f32, Dtype::q8_0, Dtype::q4_0};
    const bool mixed = random.one_in(4);
    Dtype dtype = dtypes[number % 3];
    Sort sort = any_sort(random);
    std::vector<Sort> sorts;
    for (const ExpectedTensor& tensor : expected_tensors(spec.shape, spec.flags)) {
        if (mixed) dtype = dtypes[random.below(3)];
        if (random.one_in(2)) sort = any_sort(random);
        spec.storage.push_back(any_storage(random, dtype, tensor.shape, block));
        sorts.push_back(sort);
    }
    return random.one_in(2) ? raw_model(random, spec, sorts) : encoded_model(random, spec, sorts);
}

/// Values that an entry of a package refers to while it is written.
struct EntryValues {
    std::vector<std::uint32_t> indexes;
    std::vector<float> a;
    std::vector<float> b;
};

/// How a package's deltas look.
struct Style {
    Sort sort = Sort::plain;
    std::uint32_t size = 0;  ///< powers of two below 1
};

DenseContent any_dense(Random& random, const Shape& shape, Style style, EntryValues& kept) {
    kept.a = values(random, shape.elements().value(), style.sort, style.size);
    return {kept.a};
}

SparseContent any_sparse(Random& random, const Shape& shape, Style style, EntryValues& kept) {
    const auto elements = static_cast<std::uint32_t>(shape.elements().value());
    const std::uint32_t one_in[] = {1, 2, 9, 40, 500, elements};
    const std::uint32_t density = one_in[random.below(6)];
    for (std::uint32_t i = 0; i < elements; ++i) {
        if (random.one_in(density)) kept.indexes.push_back(i);
    }
    if (kept.indexes.empty()) kept.indexes.push_back(random.below(elements));
    kept.a = values(random, kept.indexes.size(), style.sort, style.size);
    // Zeros are not stored, and an entry must store something.
    kept.a[random.below(static_cast<std::uint32_t>(kept.a.size()))] =
        value(random, Sort::plain, style.size);
    return {kept.indexes, kept.a};
}

LowRankContent any_low_rank(Random& random, const Shape& shape, Style style, EntryValues& kept) {
    const auto most = static_cast<std::uint32_t>(std::min(shape.rows(), shape.cols()));
    const std::uint32_t rank = random.one_in(12) ? std::min(most, random.between(30, 70))
                                                 : random.between(1, std::min(most, 20U));
    kept.a = values(random, rank * shape.cols(), style.sort, 1);
    kept.b = values(random, rank * shape.rows(), random.one_in(6) ? Sort::wild : Sort::plain,
                    style.size);
    const std::uint32_t exponent =
        random.one_in(8) ? random.between(0, 200) : random.between(122, 129);
    const float scale = assemble(random, exponent, random.one_in(3));
    return {rank, scale == 0.0F ? 1.0F : scale, kept.a, kept.b};
}

ByteVector any_package(Random& random, const Model& model, std::uint64_t number) {
    const PackageKind kinds[] = {PackageKind::dense, PackageKind::sparse, PackageKind::low_rank};
    PackageContent content;
    content.kind = kinds[random.one_in(3) ? random.below(3) : number % 3];
    content.identity = model.identity();
    Style style{random.one_in(4) ? any_sort(random) : Sort::plain, random.between(3, 20)};
    if (style.sort == Sort::huge && !random.one_in(4)) style.sort = Sort::wild;

    std::vector<const ModelTensor*> able;
    for (const ModelTensor& tensor : model.tensors()) {
        if (content.kind != PackageKind::low_rank || tensor.shape.rank == 2) {
            able.push_back(&tensor);
        }
    }
    const std::uint32_t one_in = random.between(1, 6);
    const auto always = random.below(static_cast<std::uint32_t>(able.size()));
    std::vector<EntryValues> kept(able.size());
    for (std::size_t i = 0; i < able.size(); ++i) {
        if (i != always && !random.one_in(one_in)) continue;
        const ModelTensor& tensor = *able[i];
        EntryContent entry{tensor.name_hash, tensor.shape, DenseContent{}};
        switch (content.kind) {
            case PackageKind::dense:
                entry.delta = any_dense(random, tensor.shape, style, kept[i]);
                break;
            case PackageKind::sparse:
                entry.delta = any_sparse(random, tensor.shape, style, kept[i]);
                break;
            case PackageKind::low_rank:
                entry.delta = any_low_rank(random, tensor.shape, style, kept[i]);
                break;
        }
        content.entries.push_back(std::move(entry));
    }
    return must(write_package(content), "write_package");
}

std::string digits(Random& random, std::uint32_t count) {
    std::string text;
    for (std::uint32_t i = 0; i < count; ++i)
        text += static_cast<char>('0' + random.below(10));
    return text;
}

/// "START" and some digits, then "e" and an exponent.
std::string scientific(Random& random, std::string text, int least, int most) {
    text += digits(random, 2) + "e";
    const auto range = static_cast<std::uint32_t>(most - least);
    return text + std::to_string(least + static_cast<int>(random.between(0, range)));
}

std::string any_strength(Random& random) {
    const std::string sign = random.one_in(3) ? "-" : "";
    switch (random.below(16)) {
        case 0:  // subnormal
            return scientific(random, sign + "7.", -44, -39);
        case 1:  // tiny
            return scientific(random, sign + "3.", -37, -8);
        case 2:  // huge
            return scientific(random, sign + "2.", 6, 38);
        case 3:
        case 4:
        case 5:
            return sign + "1";
        case 6:  // more digits than either type holds
            return sign + "0." + digits(random, 30) + "1";
        default: {  // the last digit keeps it from being zero
            const char* const whole = random.one_in(2) ? "0." : "1.";
            return sign + whole + digits(random, 3) + "1";
        }
    }
}

std::string any_rounding(Random& random, std::uint64_t number) {
    const char* const names[] = {"nearest", "stochastic:", "adaptive:"};
    const std::uint64_t mode = number / 3 % 3;  // each with each storage
    const std::uint64_t high = random.bits();
    return mode == 0 ? names[0] : names[mode] + std::to_string(high << 32 | random.bits());
}

}  // namespace

Case make_case(std::uint64_t seed, std::uint64_t number) {
    Random random(seed, number);
    Case made;
    made.model = any_model(random, number);
    const Model model = must(read_model(made.model), "read_model");
    const std::size_t packages = random.between(1, 3);
    for (std::size_t i = 0; i < packages; ++i)
        made.packages.push_back(any_package(random, model, number + i));
    // Some packages more than once.
    const std::size_t members = packages + (random.one_in(3) ? random.between(1, 4) : 0);
    for (std::size_t i = 0; i < members; ++i)
        made.stack.push_back({i % packages, any_strength(random)});
    made.rounding = any_rounding(random, number);
    return made;
}

}  // namespace trlm::adapt::sameness
