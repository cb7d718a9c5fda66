#include "jobs.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include <cblas.h>

#include "application.hpp"
#include "baselines.hpp"
#include "trlm/adapt/checksum.hpp"

namespace trlm::adapt::bench {
namespace {

constexpr std::uint32_t ranks[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
constexpr double densities[] = {0.001, 0.01, 0.1, 0.5};
constexpr std::size_t stack_sizes[] = {1, 2, 4, 8, 16};
constexpr Dtype dtypes[] = {Dtype::f32, Dtype::q8_0, Dtype::q4_0};
constexpr RoundingMode modes[] = {RoundingMode::nearest, RoundingMode::stochastic,
                                  RoundingMode::adaptive};

/// Keeps the compiler from leaving out work whose result nobody needs.
volatile std::uint64_t sink;

double value_bytes(const Workbench& bench) {
    return static_cast<double>(bench.extent().elements() * sizeof(float));
}

double bytes_of(const SampleTensor& tensor) {
    return static_cast<double>(tensor.payload.size() + tensor.scales.size() * sizeof(float));
}

double bytes_of(const Delta& delta) {
    struct Size {
        std::size_t operator()(const DenseDelta& d) const { return d.values.size(); }
        std::size_t operator()(const SparseDelta& d) const {
            return d.positions.size() + d.values.size();
        }
        std::size_t operator()(const LowRankDelta& d) const { return d.a.size() + d.b.size(); }
    };
    return static_cast<double>(std::visit(Size{}, delta));
}

DenseDelta dense_delta(Workbench& bench) {
    return {std::as_bytes(bench.dense())};
}

/// The library's work: the tensor read and written once, every delta read once.
Job application(SampleTensor& tensor, std::vector<Delta> deltas, ApplicationOptions options) {
    double bytes = 2 * bytes_of(tensor);
    for (const Delta& delta : deltas)
        bytes += bytes_of(delta);
    auto work = std::make_shared<Application>(tensor, std::move(deltas), options);
    return {.run = [work] { (*work)(); }, .bytes = bytes, .threads = options.threads};
}

std::uint64_t random_key(std::uint64_t seed, std::uint64_t name_hash) {
    std::array<std::byte, 16> bytes{};
    store(MutableBytes(bytes), 0, seed);
    store(MutableBytes(bytes), 8, name_hash);
    return xxh3_64(bytes);
}

void three_pass(SampleTensor& tensor, Workbench& bench, float strength, RoundingMode mode) {
    const QuantizedSpan quantized{tensor.payload, tensor.scales, tensor.block_size};
    const std::uint64_t key = random_key(0, tensor_name_hash(sample_name));
    if (tensor.dtype == Dtype::q8_0) {
        three_pass_q8(quantized, bench.dense(), strength, mode, key, bench.spare());
    } else {
        three_pass_q4(quantized, bench.dense(), strength, mode, key, bench.spare());
    }
}

/// Stops when the plain code and the library disagree: then they do not do the same work.
void require_same_result(Workbench& bench, Dtype dtype, RoundingMode mode) {
    SampleTensor ours = bench.tensor(dtype);
    SampleTensor theirs = bench.tensor(dtype);
    Application(ours, {dense_delta(bench)}, {.rounding = {mode, 0}})();
    three_pass(theirs, bench, 1, mode);
    if (ours.payload != theirs.payload || ours.scales != theirs.scales) {
        std::fprintf(stderr, "the three-pass code and the library differ (%s, %s)\n",
                     std::string(to_string(dtype)).c_str(), to_string(Rounding{mode, 0}).c_str());
        std::exit(1);
    }
}

std::string mode_name(RoundingMode mode) {
    switch (mode) {
        case RoundingMode::nearest:
            return "nearest";
        case RoundingMode::stochastic:
            return "stochastic";
        case RoundingMode::adaptive:
            break;
    }
    return "adaptive";
}

std::string density_name(double density) {
    std::string text = std::to_string(density * 100);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    return text;
}

class Catalogue {
public:
    Catalogue() {
        add_memory();
        add_dense();
        add_transactions();
        add_low_rank();
        add_sparse();
        add_stacks();
    }

    std::vector<JobMaker> jobs;

private:
    void add(std::string name, std::function<Job(Workbench&)> make) {
        jobs.push_back({std::move(name), std::move(make)});
    }

    /// A job of the library, and the same with survival statistics and with two threads.
    template <class Make>
    void add_variants(const std::string& name, ApplicationOptions options, const Make& make) {
        add(name, [=](Workbench& bench) { return make(bench, options); });
        ApplicationOptions with_survival = options;
        with_survival.survival = true;
        add(name + "/survival", [=](Workbench& bench) { return make(bench, with_survival); });
        ApplicationOptions two_threads = options;
        two_threads.threads = 2;
        add(name + "/2-threads", [=](Workbench& bench) { return make(bench, two_threads); });
    }

    void add_memory() {
        add("memory/read", [](Workbench& bench) -> Job {
            return {.run = [&bench] { sink = read_all(bench.dense()); },
                    .bytes = value_bytes(bench)};
        });
        add("memory/read-both", [](Workbench& bench) -> Job {
            SampleTensor& tensor = bench.tensor(Dtype::f32);
            return {.run = [&] { sink = read_both(bench.dense(), tensor.values()); },
                    .bytes = 2 * value_bytes(bench)};
        });
        add("memory/add", [](Workbench& bench) -> Job {
            SampleTensor& tensor = bench.tensor(Dtype::f32);
            return {.run = [&] { bench::add(bench.dense(), tensor.values()); },
                    .bytes = 3 * value_bytes(bench)};
        });
        add("memory/triad", [](Workbench& bench) -> Job {
            SampleTensor& tensor = bench.tensor(Dtype::f32);
            return {.run = [&] { triad(tensor.values(), bench.dense(), 0.5F, bench.spare()); },
                    .bytes = 3 * value_bytes(bench)};
        });
        add("memory/xxh3", [](Workbench& bench) -> Job {
            return {.run = [&bench] { sink = xxh3_64(std::as_bytes(bench.dense())); },
                    .bytes = value_bytes(bench)};
        });
    }

    void add_dense() {
        for (const Dtype dtype : dtypes) {
            for (const RoundingMode mode : modes) {
                std::string name = "dense/" + std::string(to_string(dtype));
                if (dtype != Dtype::f32) {
                    name += "/" + mode_name(mode);
                } else if (mode != RoundingMode::nearest) {
                    continue;
                }
                add_variants(name, {.rounding = {mode, 0}},
                             [dtype](Workbench& bench, const ApplicationOptions& options) {
                                 return application(bench.tensor(dtype), {dense_delta(bench)},
                                                    options);
                             });
                if (dtype != Dtype::f32) add_three_pass(name + "/three-pass", dtype, mode);
            }
        }
    }

    /// The one pass over f32 without a transaction around it, and with all that one can cost.
    void add_transactions() {
        add("dense/f32/tiles", [](Workbench& bench) -> Job {
            SampleTensor& tensor = bench.tensor(Dtype::f32);
            auto work =
                std::make_shared<TileByTile>(tensor, std::vector<Delta>{dense_delta(bench)});
            return {.run = [work] { (*work)(); }, .bytes = 3 * value_bytes(bench)};
        });
        for (const bool bounded : {true, false}) {
            add(bounded ? "dense/f32/bounded" : "dense/f32/unbounded",
                [bounded](Workbench& bench) -> Job {
                    SampleTensor& tensor = bench.tensor(Dtype::f32);
                    auto work = std::make_shared<Transaction>(tensor, bench.dense(), bounded);
                    return {.run = [work] { (*work)(); }, .bytes = 3 * value_bytes(bench)};
                });
        }
    }

    void add_three_pass(const std::string& name, Dtype dtype, RoundingMode mode) {
        add(name, [dtype, mode](Workbench& bench) -> Job {
            require_same_result(bench, dtype, mode);
            SampleTensor& tensor = bench.tensor(dtype);
            return {.run =
                        [&bench, &tensor, mode, strength = 1.0F]() mutable {
                            three_pass(tensor, bench, strength, mode);
                            strength = -strength;
                        },
                    .bytes = 2 * bytes_of(tensor) + value_bytes(bench)};
        });
    }

    void add_low_rank() {
        for (const std::uint32_t rank : ranks) {
            for (const Dtype dtype : dtypes) {
                const std::string name =
                    "low-rank/" + std::to_string(rank) + "/" + std::string(to_string(dtype));
                add_variants(name, {}, [=](Workbench& bench, const ApplicationOptions& options) {
                    return low_rank_job(bench, dtype, bench.low_rank(rank, 1), options);
                });
            }
            add_blas("low-rank/" + std::to_string(rank) + "/blas", rank, false);
            add_blas("low-rank/" + std::to_string(rank) + "/blas-into", rank, true);
        }
    }

    static Job low_rank_job(Workbench& bench, Dtype dtype,
                            const std::shared_ptr<SampleLowRank>& factors,
                            const ApplicationOptions& options) {
        Job job = application(bench.tensor(dtype), {factors->delta()}, options);
        job.run = [factors, run = std::move(job.run)] { run(); };
        job.flops = 2.0 * factors->rank * static_cast<double>(bench.extent().elements());
        return job;
    }

    /// OpenBLAS: into a buffer that is then added, or (`into`) added by sgemm itself.
    void add_blas(const std::string& name, std::uint32_t rank, bool into) {
        add(name, [rank, into](Workbench& bench) -> Job {
            openblas_set_num_threads(1);
            const std::shared_ptr<SampleLowRank> factors = bench.low_rank(rank, 1);
            SampleTensor& tensor = bench.tensor(Dtype::f32);
            const auto m = static_cast<blasint>(bench.extent().rows);
            const auto n = static_cast<blasint>(bench.extent().cols);
            const auto k = static_cast<blasint>(rank);
            return {.run =
                        [=, &bench, &tensor, alpha = 1.0F]() mutable {
                            float* product = into ? tensor.values().data() : bench.spare().data();
                            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, alpha,
                                        factors->b.data(), k, factors->a.data(), n,
                                        into ? 1.0F : 0.0F, product, n);
                            if (!into) bench::add(bench.spare(), tensor.values());
                            alpha = -alpha;
                        },
                    .bytes = (into ? 2 : 4) * value_bytes(bench),
                    .flops = 2.0 * rank * static_cast<double>(bench.extent().elements())};
        });
    }

    void add_sparse() {
        for (const double density : densities) {
            for (const Dtype dtype : dtypes) {
                for (const auto encoding : {SparseEncoding::index_list, SparseEncoding::bitmask}) {
                    const bool list = encoding == SparseEncoding::index_list;
                    const std::string name = "sparse/" + density_name(density) + "/" +
                                             (list ? "index-list/" : "bitmask/") +
                                             std::string(to_string(dtype));
                    add_variants(
                        name, {}, [=](Workbench& bench, const ApplicationOptions& options) {
                            const auto sparse = bench.sparse(density, encoding);
                            Job job = application(bench.tensor(dtype), {sparse->delta()}, options);
                            job.run = [sparse, run = std::move(job.run)] { run(); };
                            return job;
                        });
                }
            }
        }
    }

    /// Low-rank adapters of rank 8: as one transaction, and one after the other.
    void add_stacks() {
        for (const std::size_t size : stack_sizes) {
            for (const Dtype dtype : dtypes) {
                const std::string name =
                    "stack/" + std::to_string(size) + "/" + std::string(to_string(dtype));
                add_variants(name, {}, [=](Workbench& bench, const ApplicationOptions& options) {
                    const auto stack = make_stack(bench, size);
                    std::vector<Delta> deltas;
                    for (const auto& factors : stack)
                        deltas.emplace_back(factors->delta());
                    Job job = application(bench.tensor(dtype), std::move(deltas), options);
                    job.run = [stack, run = std::move(job.run)] { run(); };
                    return job;
                });
                add(name + "/one-by-one", [=](Workbench& bench) {
                    std::vector<Job> single;
                    for (const auto& factors : make_stack(bench, size)) {
                        single.push_back(low_rank_job(bench, dtype, factors, {}));
                    }
                    Job job;
                    for (const Job& one : single)
                        job.bytes += one.bytes;
                    job.run = [single] {
                        for (const Job& one : single)
                            one.run();
                    };
                    return job;
                });
            }
        }
    }

    static std::vector<std::shared_ptr<SampleLowRank>> make_stack(Workbench& bench,
                                                                  std::size_t size) {
        std::vector<std::shared_ptr<SampleLowRank>> stack;
        for (std::size_t i = 0; i < size; ++i)
            stack.push_back(bench.low_rank(8, i));
        return stack;
    }
};

std::vector<Comparison> make_comparisons() {
    std::vector<Comparison> all;
    const auto compare = [&](std::string ours, std::string reference, Measure measure) {
        all.push_back({std::move(ours), std::move(reference), measure});
    };
    compare("memory/triad", "memory/add", Measure::rate);
    compare("memory/read", "memory/add", Measure::rate);
    compare("memory/read-both", "memory/add", Measure::rate);
    compare("memory/xxh3", "memory/read", Measure::rate);
    for (const std::string name :
         {"dense/f32/tiles", "dense/f32", "dense/f32/bounded", "dense/f32/unbounded"}) {
        compare(name, "memory/add", Measure::rate);
    }
    for (const std::string dtype : {"q8_0", "q4_0"}) {
        for (const RoundingMode mode : modes) {
            const std::string name = "dense/" + dtype + "/" + mode_name(mode);
            compare(name, name + "/three-pass", Measure::speed);
            compare(name, "memory/add", Measure::rate);
        }
    }
    for (const std::uint32_t rank : ranks) {
        const std::string name = "low-rank/" + std::to_string(rank);
        compare(name + "/f32", name + "/blas", Measure::speed);
        compare(name + "/f32", name + "/blas-into", Measure::speed);
    }
    for (const double density : densities) {
        for (const std::string encoding : {"index-list", "bitmask"}) {
            compare("sparse/" + density_name(density) + "/" + encoding + "/f32", "dense/f32",
                    Measure::speed);
        }
    }
    for (const std::size_t size : stack_sizes) {
        for (const std::string dtype : {"f32", "q8_0", "q4_0"}) {
            const std::string name = "stack/" + std::to_string(size) + "/" + dtype;
            if (size > 1) compare(name, name + "/one-by-one", Measure::speed);
        }
    }
    for (const std::string name :
         {"dense/f32", "dense/q8_0/nearest", "dense/q8_0/adaptive", "dense/q4_0/nearest",
          "dense/q4_0/adaptive", "low-rank/8/f32", "low-rank/8/q8_0", "low-rank/8/q4_0",
          "sparse/1/index-list/f32", "sparse/1/index-list/q8_0", "sparse/1/index-list/q4_0"}) {
        compare(name + "/survival", name, Measure::cost);
    }
    for (const std::string name :
         {"low-rank/16/f32", "low-rank/64/f32", "low-rank/256/f32", "dense/q8_0/adaptive",
          "dense/q4_0/adaptive", "dense/q4_0/nearest", "stack/8/f32", "stack/8/q4_0",
          "dense/f32"}) {
        compare(name + "/2-threads", name, Measure::speed);
    }
    return all;
}

}  // namespace

const std::vector<JobMaker>& all_jobs() {
    static const Catalogue catalogue;
    return catalogue.jobs;
}

const JobMaker& find_job(const std::string& name) {
    const auto found = std::ranges::find(all_jobs(), name, &JobMaker::name);
    if (found == all_jobs().end()) {
        std::fprintf(stderr, "there is no job named %s\n", name.c_str());
        std::exit(2);
    }
    return *found;
}

std::string to_string(Measure measure) {
    switch (measure) {
        case Measure::speed:
            return "speed";
        case Measure::rate:
            return "rate";
        case Measure::cost:
            break;
    }
    return "cost";
}

const std::vector<Comparison>& all_comparisons() {
    static const std::vector<Comparison> all = make_comparisons();
    return all;
}

}  // namespace trlm::adapt::bench
