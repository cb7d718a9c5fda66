// Adapters put into memory, taken out and exchanged: transactions FOLDER
//
// FOLDER holds base.slm, two packages that fit it, first.adapter and second.adapter, and the models
// that `trlm-adapt apply` writes: first.slm (the first), second.slm (the second with strength 0.5,
// stochastic:7) and both.slm (the first, then the second with strength -0.5, nearest).
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

/// The inputs and expected outputs.
typedef struct Case {
    File first_file;
    File second_file;
    trlm_adapt_package* packages[2];
    File base;
    File first;
    File second;
    File both;
} Case;

static Case load_case(const char* folder) {
    Case all = {.first_file = read_file(folder, "first.adapter"),
                .second_file = read_file(folder, "second.adapter")};
    all.packages[0] = read_package(&all.first_file);
    all.packages[1] = read_package(&all.second_file);
    all.base = bytes_of_file(folder, "base.slm");
    all.first = bytes_of_file(folder, "first.slm");
    all.second = bytes_of_file(folder, "second.slm");
    all.both = bytes_of_file(folder, "both.slm");
    // Expectations that are the same would let a call pass that does nothing.
    CHECK(memcmp(all.base.bytes, all.first.bytes, all.base.size) != 0);
    CHECK(memcmp(all.base.bytes, all.second.bytes, all.base.size) != 0);
    CHECK(memcmp(all.first.bytes, all.both.bytes, all.base.size) != 0);
    return all;
}

static void free_case(Case* all) {
    trlm_adapt_package_free(all->packages[0]);
    trlm_adapt_package_free(all->packages[1]);
    File* files[] = {&all->first_file, &all->second_file, &all->base,
                     &all->first,      &all->second,      &all->both};
    for (size_t i = 0; i < sizeof files / sizeof *files; ++i)
        free(files[i]->bytes);
}

static const trlm_adapt_apply_options second_options = {
    .size = sizeof second_options, .seed = 7, .rounding = TRLM_ADAPT_STOCHASTIC};
static const trlm_adapt_apply_options both_options = {.size = sizeof both_options,
                                                      .rounding = TRLM_ADAPT_NEAREST};

/// The three stacks.
typedef struct Plans {
    trlm_adapt_plan* first;
    trlm_adapt_plan* second;
    trlm_adapt_plan* both;
} Plans;

static Plans make_plans(const Engine* engine, const Case* all) {
    const float strengths[] = {1.0F, -0.5F};
    const float half = 0.5F;
    const Plans plans = {plan_for(engine, all->packages, strengths, 1),
                         plan_for(engine, &all->packages[1], &half, 1),
                         plan_for(engine, all->packages, strengths, 2)};
    return plans;
}

static void free_plans(const Plans* plans) {
    trlm_adapt_plan_free(plans->first);
    trlm_adapt_plan_free(plans->second);
    trlm_adapt_plan_free(plans->both);
}

static trlm_adapt_report report_of(const trlm_adapt_applied* applied) {
    trlm_adapt_report report = {.size = sizeof report};
    CHECK(trlm_adapt_applied_get(applied, &report) == TRLM_ADAPT_OK);
    return report;
}

/// In, exchanged twice, out, and in again. The bytes are those of `engine->tensors`, wherever its
/// description leads.
static void go_through(const Engine* engine, const Case* all) {
    const Plans plans = make_plans(engine, all);
    trlm_adapt_applied* applied = NULL;
    trlm_adapt_findings* findings = NULL;
    CHECK(has_bytes(engine, &all->base));
    CHECK(trlm_adapt_apply(plans.first, NULL, &applied, &findings) == TRLM_ADAPT_OK);
    CHECK(findings == NULL);
    CHECK(has_bytes(engine, &all->first));
    const trlm_adapt_report first = report_of(applied);
    CHECK(first.is_applied == 1 && first.zero_effect == 0 && first.has_kept == 0);
    CHECK(first.kept_bytes > 0);

    CHECK(trlm_adapt_swap(applied, plans.second, &second_options, &findings) == TRLM_ADAPT_OK);
    CHECK(has_bytes(engine, &all->second));
    CHECK(report_of(applied).state != first.state);
    CHECK(trlm_adapt_swap(applied, plans.both, &both_options, NULL) == TRLM_ADAPT_OK);
    CHECK(has_bytes(engine, &all->both));
    CHECK(trlm_adapt_undo(applied, &findings) == TRLM_ADAPT_OK);
    CHECK(has_bytes(engine, &all->base));
    const trlm_adapt_report undone = report_of(applied);
    CHECK(undone.is_applied == 0 && undone.kept_bytes == 0);
    CHECK(undone.state != first.state);

    // After an undo another stack may come in.
    CHECK(trlm_adapt_swap(applied, plans.first, NULL, &findings) == TRLM_ADAPT_OK);
    CHECK(has_bytes(engine, &all->first));
    CHECK(report_of(applied).state == first.state);
    CHECK(trlm_adapt_undo(applied, &findings) == TRLM_ADAPT_OK);
    trlm_adapt_applied_free(applied);
    free_plans(&plans);
    CHECK(has_bytes(engine, &all->base));
}

static void check_survival(Engine* engine, const Case* all) {
    const Plans plans = make_plans(engine, all);
    trlm_adapt_apply_options options = {
        .size = sizeof options, .survival = 1, .has_min_survival = 1, .min_survival = 0.5};
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_apply(plans.first, &options, &applied, NULL) == TRLM_ADAPT_OK);
    const trlm_adapt_report report = report_of(applied);
    CHECK(report.has_kept == 1 && report.kept > 0.5 && report.kept < 1.5);
    trlm_adapt_package_info package = {.size = sizeof package};
    CHECK(trlm_adapt_package_get(all->packages[0], &package) == TRLM_ADAPT_OK);
    CHECK(report.tensor_count == package.entry_count);
    for (size_t i = 0; i < report.tensor_count; ++i) {
        trlm_adapt_survival survival = {.size = sizeof survival};
        CHECK(trlm_adapt_applied_tensor(applied, i, &survival) == TRLM_ADAPT_OK);
        CHECK(survival.name[0] != '\0');
        CHECK(survival.touched <= survival.elements && survival.changed <= survival.elements);
        CHECK(survival.max_abs_delta >= survival.rms_delta && survival.rms_delta > 0);
        CHECK(survival.cosine >= -1.0000001 && survival.cosine <= 1.0000001);
        CHECK((survival.kept > 0) == (survival.cosine > 0));
    }
    trlm_adapt_survival survival = {.size = sizeof survival};
    CHECK(trlm_adapt_applied_tensor(applied, report.tensor_count, &survival) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_undo(applied, NULL) == TRLM_ADAPT_OK);
    trlm_adapt_applied_free(applied);
    free_plans(&plans);
}

// ------------------------------------------------------------------------------ what is lent

/// One thread's share of the tasks.
typedef struct Share {
    void (*task)(void* context, size_t i);
    void* context;
    size_t first;
    size_t step;
    size_t count;
} Share;

static void* run_share(void* pointer) {
    const Share* share = pointer;
    for (size_t i = share->first; i < share->count; i += share->step)
        share->task(share->context, i);
    return NULL;
}

/// Two threads; it also asks for a task that there is not, and for one twice.
static void parallel_for(void* context, size_t count, void (*task)(void*, size_t),
                         void* task_context) {
    size_t* calls = context;
    ++*calls;
    Share shares[] = {{task, task_context, 0, 2, count}, {task, task_context, 1, 2, count}};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run_share, &shares[1]) == 0);
    run_share(&shares[0]);
    CHECK(pthread_join(thread, NULL) == 0);
    task(task_context, count);
    task(task_context, 0);
}

/// An engine that copies rows instead of lending memory.
static void* rows_at(void* memory, const trlm_adapt_tensor* tensor, size_t all_bytes,
                     uint64_t first_row, uint64_t rows, size_t bytes) {
    uint64_t all_rows = 1;
    for (uint32_t i = 0; i + 1 < tensor->rank; ++i)
        all_rows *= tensor->dims[i];
    CHECK(first_row + rows <= all_rows);
    CHECK(bytes == all_bytes / all_rows * rows);
    return (unsigned char*)memory + all_bytes / all_rows * first_row;
}

static int read_rows(void* context, size_t index, uint64_t first_row, uint64_t rows, void* payload,
                     size_t payload_bytes, void* scales, size_t scale_bytes) {
    const Engine* engine = context;
    const trlm_adapt_tensor* tensor = &engine->tensors[index];
    memcpy(payload,
           rows_at(tensor->payload, tensor, tensor->payload_bytes, first_row, rows, payload_bytes),
           payload_bytes);
    if (scale_bytes > 0) {
        memcpy(scales,
               rows_at(tensor->scales, tensor, tensor->scale_bytes, first_row, rows, scale_bytes),
               scale_bytes);
    }
    return 1;
}

static int write_rows(void* context, size_t index, uint64_t first_row, uint64_t rows,
                      const void* payload, size_t payload_bytes, const void* scales,
                      size_t scale_bytes) {
    const Engine* engine = context;
    const trlm_adapt_tensor* tensor = &engine->tensors[index];
    memcpy(rows_at(tensor->payload, tensor, tensor->payload_bytes, first_row, rows, payload_bytes),
           payload, payload_bytes);
    if (scale_bytes > 0) {
        memcpy(rows_at(tensor->scales, tensor, tensor->scale_bytes, first_row, rows, scale_bytes),
               scales, scale_bytes);
    }
    return 1;
}

/// An engine at rest, with the bytes that it had at both ends.
typedef struct Rest {
    const Engine* engine;
    const File* at_begin;
    const File* at_end;
    int begun;
    int ended;
} Rest;

static int begin(void* context) {
    Rest* rest = context;
    ++rest->begun;
    CHECK(rest->begun == rest->ended + 1);
    CHECK(has_bytes(rest->engine, rest->at_begin));
    return 1;
}

static void end(void* context) {
    Rest* rest = context;
    ++rest->ended;
    CHECK(has_bytes(rest->engine, rest->at_end));
}

static void check_threads(Engine* engine, const Case* all) {
    engine->description.threads = UINT32_MAX;
    go_through(engine, all);
    engine->description.threads = 0;
}

static void check_executor(Engine* engine, const Case* all) {
    size_t calls = 0;
    const trlm_adapt_executor executor = {sizeof executor, parallel_for, &calls, 2};
    engine->description.executor = &executor;
    go_through(engine, all);
    CHECK(calls > 0);
    engine->description.executor = NULL;
}

static void check_allocator(Engine* engine, const Case* all) {
    CountingMemory memory = {.left = SIZE_MAX};
    const trlm_adapt_allocator allocator = counting_allocator(&memory);
    engine->description.allocator = &allocator;
    go_through(engine, all);
    CHECK(memory.calls > 0);
    CHECK(memory.pieces_out == 0);
    engine->description.allocator = NULL;
}

static void check_quiescence(Engine* engine, const Case* all) {
    Rest rest = {engine, &all->base, &all->first, 0, 0};
    const trlm_adapt_quiescence quiescence = {sizeof quiescence, begin, end, &rest};
    engine->description.quiescence = &quiescence;
    const Plans plans = make_plans(engine, all);
    engine->description.quiescence = NULL;
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_apply(plans.first, NULL, &applied, NULL) == TRLM_ADAPT_OK);
    CHECK(rest.begun == 1 && rest.ended == 1);
    rest.at_begin = &all->first;
    rest.at_end = &all->second;
    CHECK(trlm_adapt_swap(applied, plans.second, &second_options, NULL) == TRLM_ADAPT_OK);
    CHECK(rest.begun == 2 && rest.ended == 2);
    rest.at_begin = &all->second;
    rest.at_end = &all->base;
    CHECK(trlm_adapt_undo(applied, NULL) == TRLM_ADAPT_OK);
    CHECK(rest.begun == 3 && rest.ended == 3);
    trlm_adapt_applied_free(applied);
    free_plans(&plans);
}

static void check_access(Engine* engine, const Case* all) {
    const trlm_adapt_access access = {sizeof access, read_rows, write_rows, engine};
    // What is described has no memory of its own; the engine's stays where the functions find it.
    trlm_adapt_tensor* described = malloc(engine->tensor_count * sizeof *described);
    memcpy(described, engine->tensors, engine->tensor_count * sizeof *described);
    for (size_t i = 0; i < engine->tensor_count; ++i) {
        described[i].payload = NULL;
        described[i].payload_bytes = 0;
        described[i].scales = NULL;
        described[i].scale_bytes = 0;
    }
    engine->description.tensors = described;
    engine->description.access = &access;
    go_through(engine, all);
    engine->description.access = NULL;
    engine->description.tensors = engine->tensors;
    free(described);
}

// ------------------------------------------------------------------------------- descriptions

/// A hash that is left out is computed, and so are dimensions that are not there.
static void check_what_may_be_left_out(Engine* engine, const Case* all) {
    for (size_t i = 0; i < engine->tensor_count; ++i) {
        trlm_adapt_tensor* tensor = &engine->tensors[i];
        CHECK(tensor->name[0] != '\0' && tensor->name_hash != 0);
        tensor->name_hash = 0;
        tensor->max_abs = 0;
        for (uint32_t d = tensor->rank; d < 4; ++d)
            tensor->dims[d] = 0;
    }
    go_through(engine, all);
}

static int count_calls(void* context, uint64_t done, uint64_t total) {
    CHECK(done < total);
    ++*(int*)context;
    return 1;
}

static void check_progress(const Engine* engine, const Case* all) {
    const Plans plans = make_plans(engine, all);
    int calls = 0;
    const trlm_adapt_apply_options options = {
        .size = sizeof options, .progress = count_calls, .progress_context = &calls};
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_apply(plans.first, &options, &applied, NULL) == TRLM_ADAPT_OK);
    CHECK(calls > 0);
    CHECK(trlm_adapt_undo(applied, NULL) == TRLM_ADAPT_OK);
    trlm_adapt_applied_free(applied);
    free_plans(&plans);
}

/// Engines of their own, in threads of their own, over the same packages.
typedef struct Guest {
    const char* folder;
    const Case* all;
    bool good;
} Guest;

static void* be_a_guest(void* pointer) {
    Guest* guest = pointer;
    Engine engine = load_engine(guest->folder, "base.slm");
    engine.description.threads = 2;
    guest->good = true;
    for (int i = 0; i < 20; ++i) {
        const Plans plans = make_plans(&engine, guest->all);
        trlm_adapt_applied* applied = NULL;
        guest->good = guest->good &&
                      trlm_adapt_apply(plans.first, NULL, &applied, NULL) == TRLM_ADAPT_OK &&
                      has_bytes(&engine, &guest->all->first) &&
                      trlm_adapt_swap(applied, plans.both, &both_options, NULL) == TRLM_ADAPT_OK &&
                      has_bytes(&engine, &guest->all->both) &&
                      trlm_adapt_undo(applied, NULL) == TRLM_ADAPT_OK &&
                      has_bytes(&engine, &guest->all->base);
        trlm_adapt_applied_free(applied);
        free_plans(&plans);
    }
    free_engine(&engine);
    return NULL;
}

static void check_guests(const char* folder, const Case* all) {
    Guest guests[3];
    pthread_t threads[3];
    for (size_t i = 0; i < 3; ++i) {
        guests[i] = (Guest){folder, all, false};
        CHECK(pthread_create(&threads[i], NULL, be_a_guest, &guests[i]) == 0);
    }
    for (size_t i = 0; i < 3; ++i) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(guests[i].good);
    }
}

/// Everything that may be freed is, and the packages' bytes are gone, before the undo.
static void check_lifetimes(const char* folder, const Case* all) {
    Engine engine = load_engine(folder, "base.slm");
    File file = read_file(folder, "first.adapter");
    trlm_adapt_package* package = read_package(&file);
    const float strength = 1.0F;
    trlm_adapt_plan* plan = plan_for(&engine, &package, &strength, 1);
    trlm_adapt_package_free(package);
    trlm_adapt_model_free(engine.model);
    engine.model = NULL;
    memset(engine.file.bytes, 0, engine.file.size);
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_apply(plan, NULL, &applied, NULL) == TRLM_ADAPT_OK);
    CHECK(has_bytes(&engine, &all->first));
    trlm_adapt_plan_free(plan);
    memset(file.bytes, 0, file.size);
    free(file.bytes);
    CHECK(trlm_adapt_undo(applied, NULL) == TRLM_ADAPT_OK);
    CHECK(has_bytes(&engine, &all->base));
    trlm_adapt_applied_free(applied);
    free_engine(&engine);
}

/// What the files say of themselves.
static void check_inspection(const Engine* engine, const Case* all) {
    trlm_adapt_model_info model = {.size = sizeof model};
    CHECK(trlm_adapt_model_get(engine->model, &model) == TRLM_ADAPT_OK);
    CHECK(model.tensor_count == engine->identity.tensor_count);
    CHECK(model.head_count * model.head_dim == model.hidden_size);
    CHECK(model.rope_theta > 0 && model.rms_norm_epsilon > 0);
    const unsigned char* tokenizer = model.tokenizer;
    CHECK(tokenizer >= engine->file.bytes && model.tokenizer_bytes > 0 &&
          tokenizer + model.tokenizer_bytes <= engine->file.bytes + engine->file.size);
    uint64_t elements = 0;
    for (size_t i = 0; i < engine->tensor_count; ++i) {
        uint64_t product = 1;
        for (size_t d = 0; d < 4; ++d)
            product *= engine->tensors[i].dims[d];
        elements += product;
    }
    CHECK(elements == engine->identity.parameter_count);

    for (size_t p = 0; p < 2; ++p) {
        trlm_adapt_identity identity = {.size = sizeof identity};
        CHECK(trlm_adapt_package_identity(all->packages[p], &identity) == TRLM_ADAPT_OK);
        CHECK(memcmp(&identity, &engine->identity, sizeof identity) == 0);
        trlm_adapt_package_info package = {.size = sizeof package};
        CHECK(trlm_adapt_package_get(all->packages[p], &package) == TRLM_ADAPT_OK);
        const unsigned char* magic = p == 0 ? all->first_file.bytes : all->second_file.bytes;
        const uint32_t kind = memcmp(magic, "ADP1", 4) == 0   ? TRLM_ADAPT_DENSE
                              : memcmp(magic, "ASP1", 4) == 0 ? TRLM_ADAPT_SPARSE
                                                              : TRLM_ADAPT_LOW_RANK;
        CHECK(package.kind == kind);
        CHECK(package.entry_count > 0 && package.checksum != 0);
        CHECK((package.metadata == NULL) == (package.metadata_bytes == 0));
        for (size_t i = 0; i < package.entry_count; ++i) {
            trlm_adapt_entry entry = {.size = sizeof entry};
            CHECK(trlm_adapt_package_entry(all->packages[p], i, &entry) == TRLM_ADAPT_OK);
            CHECK((entry.low_rank > 0) == (kind == TRLM_ADAPT_LOW_RANK));
            CHECK((entry.count > 0) == (kind == TRLM_ADAPT_SPARSE));
            size_t same = 0;
            for (size_t t = 0; t < engine->tensor_count; ++t) {
                const trlm_adapt_tensor* tensor = &engine->tensors[t];
                same += entry.name_hash == tensor->name_hash && entry.rank == tensor->rank &&
                        memcmp(entry.dims, tensor->dims, sizeof entry.dims) == 0;
            }
            CHECK(same == 1);
        }
    }
}

int main(int argc, char** argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    Case all = load_case(argv[1]);
    Engine engine = load_engine(argv[1], "base.slm");
    check_inspection(&engine, &all);
    go_through(&engine, &all);
    check_survival(&engine, &all);
    check_threads(&engine, &all);
    check_executor(&engine, &all);
    check_allocator(&engine, &all);
    check_quiescence(&engine, &all);
    check_access(&engine, &all);
    check_progress(&engine, &all);
    check_what_may_be_left_out(&engine, &all);
    check_guests(argv[1], &all);
    check_lifetimes(argv[1], &all);
    free_engine(&engine);
    free_case(&all);
    return finish();
}
