// Structs of programs that were compiled with an older or a newer header: growth FOLDER
//
// FOLDER holds base.slm, first.adapter, and first.slm, what `trlm-adapt apply` makes of the two.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

/// A struct may grow at its end alone, where a new member makes it longer: one that fitted into
/// padding would not be told by the size.
#define ENDS_WITH(type, member) \
    CHECK(offsetof(type, member) + sizeof(((type*)NULL)->member) == sizeof(type))

static void check_ends(void) {
    ENDS_WITH(trlm_adapt_finding, has_element);
    ENDS_WITH(trlm_adapt_code, status);
    ENDS_WITH(trlm_adapt_identity, tensor_count);
    ENDS_WITH(trlm_adapt_tensor, file_scales);
    ENDS_WITH(trlm_adapt_read_options, reserved);
    ENDS_WITH(trlm_adapt_model_info, rms_norm_epsilon);
    ENDS_WITH(trlm_adapt_package_info, entry_count);
    ENDS_WITH(trlm_adapt_entry, reserved);
    ENDS_WITH(trlm_adapt_access, context);
    ENDS_WITH(trlm_adapt_allocator, context);
    ENDS_WITH(trlm_adapt_quiescence, context);
    ENDS_WITH(trlm_adapt_executor, concurrency);
    ENDS_WITH(trlm_adapt_engine_description, discard_base);
    ENDS_WITH(trlm_adapt_member, reserved);
    ENDS_WITH(trlm_adapt_apply_options, progress_context);
    ENDS_WITH(trlm_adapt_report, tensor_count);
    ENDS_WITH(trlm_adapt_survival, reserved);
}

/// Newer structs: the library does not know their last member.
typedef struct NewerTensor {
    trlm_adapt_tensor known;
    uint64_t unknown;
} NewerTensor;
typedef struct NewerDescription {
    trlm_adapt_engine_description known;
    const void* unknown;
} NewerDescription;
typedef struct NewerIdentity {
    trlm_adapt_identity known;
    uint64_t unknown;
} NewerIdentity;
typedef struct NewerMember {
    trlm_adapt_member known;
    double unknown[2];
} NewerMember;
typedef struct NewerOptions {
    trlm_adapt_apply_options known;
    uint64_t unknown;
} NewerOptions;
typedef struct NewerReport {
    trlm_adapt_report known;
    uint64_t unknown;
} NewerReport;

/// Older structs: what came later is not there.
typedef struct OlderTensor {
    unsigned char bytes[offsetof(trlm_adapt_tensor, file_payload)];
} OlderTensor;
typedef struct OlderDescription {
    unsigned char bytes[offsetof(trlm_adapt_engine_description, access)];
} OlderDescription;
typedef struct OlderOptions {
    unsigned char bytes[offsetof(trlm_adapt_apply_options, min_survival)];
} OlderOptions;

static void set_size(void* structure, size_t size) {
    memcpy(structure, &size, sizeof size);
}

/// Describes an engine, applies the package, compares, undoes.
static void go_through(const Engine* engine, const trlm_adapt_engine_description* description,
                       const trlm_adapt_member* member, const trlm_adapt_apply_options* options,
                       const File* expected) {
    File base = bytes_of(engine);
    trlm_adapt_engine* described = NULL;
    trlm_adapt_plan* plan = NULL;
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_engine_describe(description, &described, NULL) == TRLM_ADAPT_OK);
    CHECK(trlm_adapt_plan_stack(described, member, 1, &plan, NULL) == TRLM_ADAPT_OK);
    CHECK(trlm_adapt_apply(plan, options, &applied, NULL) == TRLM_ADAPT_OK);
    CHECK(has_bytes(engine, expected));
    CHECK(trlm_adapt_undo(applied, NULL) == TRLM_ADAPT_OK);
    CHECK(has_bytes(engine, &base));
    trlm_adapt_applied_free(applied);
    trlm_adapt_plan_free(plan);
    trlm_adapt_engine_free(described);
    free(base.bytes);
}

static void check_newer(const Engine* engine, trlm_adapt_package* package, const File* expected) {
    NewerTensor* tensors = malloc(engine->tensor_count * sizeof *tensors);
    memset(tensors, 0xff, engine->tensor_count * sizeof *tensors);
    for (size_t i = 0; i < engine->tensor_count; ++i) {
        tensors[i].known = engine->tensors[i];
        tensors[i].known.size = sizeof *tensors;
    }
    NewerIdentity identity = {engine->identity, UINT64_MAX};
    identity.known.size = sizeof identity;
    NewerDescription description = {engine->description, &description};
    description.known.size = sizeof description;
    description.known.identity = &identity.known;
    description.known.tensors = &tensors[0].known;
    NewerMember member = {{.size = sizeof member, .package = package, .strength = 1}, {1, 2}};
    NewerOptions options = {{.size = sizeof options}, UINT64_MAX};
    go_through(engine, &description.known, &member.known, &options.known, expected);
    free(tensors);

    // What is not known is not written either.
    NewerIdentity read = {{.size = sizeof read}, 123};
    CHECK(trlm_adapt_model_identity(engine->model, &read.known) == TRLM_ADAPT_OK);
    CHECK(read.unknown == 123);
    CHECK(read.known.size == sizeof read);
    CHECK(read.known.parameter_count == engine->identity.parameter_count);
}

static void check_older(const Engine* engine, trlm_adapt_package* package, const File* expected) {
    OlderTensor* tensors = malloc(engine->tensor_count * sizeof *tensors);
    for (size_t i = 0; i < engine->tensor_count; ++i) {
        memcpy(&tensors[i], &engine->tensors[i], sizeof *tensors);
        set_size(&tensors[i], sizeof *tensors);
    }
    trlm_adapt_engine_description whole = engine->description;
    whole.identity = &engine->identity;
    whole.tensors = (const trlm_adapt_tensor*)(const void*)tensors;
    OlderDescription* description = malloc(sizeof *description);
    memcpy(description, &whole, sizeof *description);
    set_size(description, sizeof *description);
    const trlm_adapt_member member = {.size = sizeof member, .package = package, .strength = 1};
    OlderOptions* options = calloc(1, sizeof *options);
    set_size(options, sizeof *options);
    const size_t none = sizeof none;  // a struct of nothing but its size
    const trlm_adapt_engine_description* older =
        (const trlm_adapt_engine_description*)(const void*)description;
    go_through(engine, older, &member, (const trlm_adapt_apply_options*)(const void*)options,
               expected);
    go_through(engine, older, &member, (const trlm_adapt_apply_options*)(const void*)&none,
               expected);
    free(options);
    free(description);
    free(tensors);

    // Received: what the program does not have is not written.
    trlm_adapt_identity identity = {.size = offsetof(trlm_adapt_identity, tokenizer_checksum),
                                    .tokenizer_checksum = 123,
                                    .model_flags = 124};
    CHECK(trlm_adapt_model_identity(engine->model, &identity) == TRLM_ADAPT_OK);
    CHECK(identity.size == offsetof(trlm_adapt_identity, tokenizer_checksum));
    CHECK(identity.tensor_layout_checksum == engine->identity.tensor_layout_checksum);
    CHECK(identity.tokenizer_checksum == 123 && identity.model_flags == 124);
}

/// Sizes that no struct ever had.
static const size_t wrong_sizes[] = {0, 1, sizeof(size_t), 2 * sizeof(size_t) + 1};

static void check_wrong_size_received(const Engine* engine, trlm_adapt_package* package) {
    for (size_t i = 0; i < sizeof wrong_sizes / sizeof *wrong_sizes; ++i) {
        const size_t size = wrong_sizes[i];
        trlm_adapt_identity identity = {.size = size, .parameter_count = 5};
        CHECK(trlm_adapt_model_identity(engine->model, &identity) == TRLM_ADAPT_USAGE);
        CHECK(trlm_adapt_package_identity(package, &identity) == TRLM_ADAPT_USAGE);
        CHECK(identity.parameter_count == 5);
        trlm_adapt_model_info model = {.size = size};
        CHECK(trlm_adapt_model_get(engine->model, &model) == TRLM_ADAPT_USAGE);
        trlm_adapt_tensor tensor = {.size = size};
        CHECK(trlm_adapt_model_tensor(engine->model, 0, &tensor) == TRLM_ADAPT_USAGE);
        trlm_adapt_package_info info = {.size = size};
        CHECK(trlm_adapt_package_get(package, &info) == TRLM_ADAPT_USAGE);
        trlm_adapt_entry entry = {.size = size};
        CHECK(trlm_adapt_package_entry(package, 0, &entry) == TRLM_ADAPT_USAGE);
        trlm_adapt_code code = {.size = size};
        CHECK(trlm_adapt_code_get(0, &code) == TRLM_ADAPT_USAGE);
        CHECK(trlm_adapt_code_find("zero_effect", &code) == TRLM_ADAPT_USAGE);
        trlm_adapt_findings* findings = NULL;
        CHECK(trlm_adapt_undo(NULL, &findings) == TRLM_ADAPT_USAGE);
        trlm_adapt_finding finding = {.size = size};
        CHECK(trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_USAGE);
        trlm_adapt_findings_free(findings);
    }
}

static void refuse(const trlm_adapt_engine_description* description) {
    trlm_adapt_engine* described = NULL;
    trlm_adapt_findings* findings = NULL;
    CHECK(trlm_adapt_engine_describe(description, &described, &findings) == TRLM_ADAPT_USAGE);
    CHECK(described == NULL);
    CHECK(is_only(findings, "usage_error"));
}

/// A size that lacks what has to be given, in every struct that an engine is described by.
static void check_wrong_size_given(const Engine* engine, trlm_adapt_package* package) {
    trlm_adapt_engine_description whole = engine->description;
    whole.identity = &engine->identity;
    trlm_adapt_engine_description description = whole;
    description.size = offsetof(trlm_adapt_engine_description, tensor_count);
    refuse(&description);
    description = whole;
    description.size += 1;
    refuse(&description);

    trlm_adapt_identity identity = engine->identity;
    identity.size = offsetof(trlm_adapt_identity, model_flags);
    description = whole;
    description.identity = &identity;
    refuse(&description);

    trlm_adapt_tensor was = engine->tensors[0];
    engine->tensors[0].size = offsetof(trlm_adapt_tensor, scales);
    refuse(&whole);
    engine->tensors[0].size = SIZE_MAX;
    refuse(&whole);
    engine->tensors[0] = was;
    was = engine->tensors[1];
    engine->tensors[1].size = sizeof was + sizeof(uint64_t);  // not that of the first
    refuse(&whole);
    engine->tensors[1] = was;

    const trlm_adapt_access access = {.size = sizeof(size_t)};
    description = whole;
    description.access = &access;
    refuse(&description);
    const trlm_adapt_allocator allocator = {.size = sizeof(size_t)};
    description = whole;
    description.allocator = &allocator;
    refuse(&description);
    const trlm_adapt_quiescence quiescence = {.size = sizeof(size_t)};
    description = whole;
    description.quiescence = &quiescence;
    refuse(&description);
    const trlm_adapt_executor executor = {.size = sizeof(size_t)};
    description = whole;
    description.executor = &executor;
    refuse(&description);

    trlm_adapt_engine* described = NULL;
    trlm_adapt_plan* plan = NULL;
    trlm_adapt_findings* findings = NULL;
    CHECK(trlm_adapt_engine_describe(&whole, &described, NULL) == TRLM_ADAPT_OK);
    trlm_adapt_member member = {.size = 8, .package = package, .strength = 1};
    CHECK(trlm_adapt_plan_stack(described, &member, 1, &plan, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    member.size = sizeof member;
    CHECK(trlm_adapt_plan_stack(described, &member, 1, &plan, &findings) == TRLM_ADAPT_OK);
    const trlm_adapt_apply_options options = {.size = 4};
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_apply(plan, &options, &applied, &findings) == TRLM_ADAPT_USAGE);
    CHECK(applied == NULL);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_apply(plan, NULL, &applied, NULL) == TRLM_ADAPT_OK);
    CHECK(trlm_adapt_swap(applied, plan, &options, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    trlm_adapt_survival survival = {.size = 8};
    CHECK(trlm_adapt_applied_tensor(applied, 0, &survival) == TRLM_ADAPT_USAGE);
    trlm_adapt_report report = {.size = 8};
    CHECK(trlm_adapt_applied_get(applied, &report) == TRLM_ADAPT_USAGE);
    NewerReport newer = {{.size = sizeof newer}, 99};
    CHECK(trlm_adapt_applied_get(applied, &newer.known) == TRLM_ADAPT_OK);
    CHECK(newer.known.is_applied == 1 && newer.unknown == 99);
    CHECK(trlm_adapt_undo(applied, NULL) == TRLM_ADAPT_OK);
    trlm_adapt_applied_free(applied);
    trlm_adapt_plan_free(plan);
    trlm_adapt_engine_free(described);

    const trlm_adapt_read_options reading = {.size = 7};
    trlm_adapt_package* read = NULL;
    trlm_adapt_model* model = NULL;
    CHECK(trlm_adapt_package_read("ADP1", 4, &reading, &read, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_model_read("SLM1", 4, &reading, &model, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
}

int main(int argc, char** argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    Engine engine = load_engine(argv[1], "base.slm");
    File file = read_file(argv[1], "first.adapter");
    File expected = bytes_of_file(argv[1], "first.slm");
    trlm_adapt_package* package = read_package(&file);
    check_ends();
    check_newer(&engine, package, &expected);
    check_older(&engine, package, &expected);
    check_wrong_size_received(&engine, package);
    check_wrong_size_given(&engine, package);
    trlm_adapt_package_free(package);
    free(expected.bytes);
    free(file.bytes);
    free_engine(&engine);
    return finish();
}
