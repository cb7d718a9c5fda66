#include "kernels.hpp"

#include <cstdint>
#include <cstring>

namespace engine {
namespace {

/// A vector register's worth of sums: the compiler turns operations on it into those of the
/// machine.
using Lanes = float __attribute__((vector_size(32)));
constexpr std::size_t lane_count = sizeof(Lanes) / sizeof(float);
static_assert(lane_count == 8, "multiply_row adds up eight sums");

/// So many inputs share each load of the weights; more would not fit into the registers.
constexpr std::size_t tile = 8;

const float* as_floats(adapt::Bytes bytes) {
    return reinterpret_cast<const float*>(bytes.data());
}

void decode_q8_0(const std::byte* codes, float scale, std::span<float> values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<float>(static_cast<std::int8_t>(codes[i])) * scale;
    }
}

/// Two's complement in four bits.
float signed_nibble(unsigned nibble) {
    return static_cast<float>(static_cast<int>(nibble ^ 8U) - 8);
}

void decode_q4_0(const std::byte* codes, float scale, std::span<float> values) {
    for (std::size_t i = 0; i < values.size(); i += 2) {
        const auto pair = std::to_integer<unsigned>(codes[i / 2]);
        values[i] = signed_nibble(pair & 15U) * scale;
        values[i + 1] = signed_nibble(pair >> 4U) * scale;
    }
}

/// The values of a row: in place where they are stored as such, otherwise decoded into `buffer`.
const float* row_values(const adapt::MemoryTensor& tensor, std::size_t row,
                        std::span<float> buffer) {
    if (tensor.dtype == adapt::Dtype::f32) return as_floats(tensor.payload) + row * buffer.size();
    decode_row(tensor, row, buffer);
    return buffer.data();
}

/// The products of one row with `count` inputs, each `cols` long, into every `stride`th output.
template <std::size_t count>
void multiply_row(const float* row, const float* inputs, std::size_t cols, float* outputs,
                  std::size_t stride) {
    Lanes sums[count] = {};
    std::size_t done = 0;
    for (; done + lane_count <= cols; done += lane_count) {
        Lanes weights;
        std::memcpy(&weights, row + done, sizeof(weights));
        for (std::size_t i = 0; i < count; ++i) {
            Lanes values;
            std::memcpy(&values, inputs + i * cols + done, sizeof(values));
            sums[i] += weights * values;
        }
    }
    for (std::size_t i = 0; i < count; ++i) {
        float sum = ((sums[i][0] + sums[i][1]) + (sums[i][2] + sums[i][3])) +
                    ((sums[i][4] + sums[i][5]) + (sums[i][6] + sums[i][7]));
        for (std::size_t column = done; column < cols; ++column) {
            sum += row[column] * inputs[i * cols + column];
        }
        outputs[i * stride] = sum;
    }
}

}  // namespace

void decode_row(const adapt::MemoryTensor& tensor, std::size_t row, std::span<float> values) {
    const std::size_t cols = values.size();
    if (tensor.dtype == adapt::Dtype::f32) {
        std::memcpy(values.data(), as_floats(tensor.payload) + row * cols, cols * sizeof(float));
        return;
    }
    const std::size_t block = tensor.block_size;
    const float* const scales = as_floats(tensor.scales) + row * (cols / block);
    for (std::size_t begin = 0; begin < cols; begin += block) {
        const std::size_t element = row * cols + begin;
        const std::span<float> part = values.subspan(begin, block);
        if (tensor.dtype == adapt::Dtype::q8_0) {
            decode_q8_0(tensor.payload.data() + element, scales[begin / block], part);
        } else {
            decode_q4_0(tensor.payload.data() + element / 2, scales[begin / block], part);
        }
    }
}

std::vector<float> decode(const adapt::MemoryTensor& vector) {
    std::vector<float> values(static_cast<std::size_t>(vector.shape.cols()));
    decode_row(vector, 0, values);
    return values;
}

float dot(std::span<const float> a, std::span<const float> b) {
    float sum = 0;
    multiply_row<1>(a.data(), b.data(), a.size(), &sum, 1);
    return sum;
}

std::vector<float> multiply(const adapt::MemoryTensor& matrix, std::span<const float> inputs) {
    const auto cols = static_cast<std::size_t>(matrix.shape.cols());
    const auto rows = static_cast<std::size_t>(matrix.shape.rows());
    const std::size_t count = inputs.size() / cols;
    std::vector<float> outputs(count * rows);
    std::vector<float> buffer(cols);
    for (std::size_t row = 0; row < rows; ++row) {
        const float* const values = row_values(matrix, row, buffer);
        std::size_t done = 0;
        for (; done + tile <= count; done += tile) {
            multiply_row<tile>(values, inputs.data() + done * cols, cols,
                               outputs.data() + done * rows + row, rows);
        }
        for (; done < count; ++done) {
            multiply_row<1>(values, inputs.data() + done * cols, cols,
                            outputs.data() + done * rows + row, rows);
        }
    }
    return outputs;
}

}  // namespace engine
