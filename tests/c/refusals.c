// Calls that are refused, with the memory as it was: refusals FOLDER
//
// FOLDER holds base.slm, fitting packages first.adapter and second.adapter, zero.adapter (fits, has
// no effect), huge.adapter (fits, overflows with a strength of 1e30) and other.adapter (for another
// model).
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

/// An engine with a package for it, and the bytes that nothing here may change.
typedef struct Bench {
    const char* folder;
    Engine engine;
    File base;
    File first_file;
    trlm_adapt_package* first;
} Bench;

static Bench make_bench(const char* folder) {
    Bench bench = {.folder = folder,
                   .engine = load_engine(folder, "base.slm"),
                   .base = bytes_of_file(folder, "base.slm"),
                   .first_file = read_file(folder, "first.adapter")};
    bench.first = read_package(&bench.first_file);
    return bench;
}

static void free_bench(Bench* bench) {
    CHECK(has_bytes(&bench->engine, &bench->base));
    trlm_adapt_package_free(bench->first);
    free(bench->first_file.bytes);
    free(bench->base.bytes);
    free_engine(&bench->engine);
}

static trlm_adapt_plan* plan_one(const Bench* bench, trlm_adapt_package* package, float strength) {
    return plan_for(&bench->engine, &package, &strength, 1);
}

static trlm_adapt_plan* plan_first(const Bench* bench) {
    return plan_one(bench, bench->first, 1.0F);
}

static trlm_adapt_applied* apply_first(const Bench* bench) {
    trlm_adapt_plan* plan = plan_first(bench);
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_apply(plan, NULL, &applied, NULL) == TRLM_ADAPT_OK);
    trlm_adapt_plan_free(plan);
    return applied;
}

// ----------------------------------------------------------------------------------- arguments

/// Every pointer that has to be given, left out.
static void refuse_null(const Bench* bench) {
    trlm_adapt_findings* findings = NULL;
    trlm_adapt_model* model = (trlm_adapt_model*)&findings;  // anything but NULL
    trlm_adapt_package* package = (trlm_adapt_package*)&findings;
    const File* file = &bench->first_file;
    CHECK(trlm_adapt_model_read(NULL, 10, NULL, &model, &findings) == TRLM_ADAPT_USAGE);
    CHECK(model == NULL);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_model_read(file->bytes, file->size, NULL, NULL, &findings) ==
          TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_package_read(NULL, 10, NULL, &package, &findings) == TRLM_ADAPT_USAGE);
    CHECK(package == NULL);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_package_read(file->bytes, file->size, NULL, NULL, &findings) ==
          TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    // Whoever does not want the findings leaves them out.
    CHECK(trlm_adapt_package_read(NULL, 0, NULL, &package, NULL) == TRLM_ADAPT_USAGE);

    trlm_adapt_identity identity = {.size = sizeof identity};
    trlm_adapt_model_info model_info = {.size = sizeof model_info};
    trlm_adapt_package_info package_info = {.size = sizeof package_info};
    trlm_adapt_tensor tensor = {.size = sizeof tensor};
    trlm_adapt_entry entry = {.size = sizeof entry};
    CHECK(trlm_adapt_model_identity(NULL, &identity) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_model_identity(bench->engine.model, NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_model_get(NULL, &model_info) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_model_get(bench->engine.model, NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_model_tensor(NULL, 0, &tensor) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_model_tensor(bench->engine.model, 0, NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_model_tensor(bench->engine.model, bench->engine.tensor_count, &tensor) ==
          TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_package_identity(NULL, &identity) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_package_identity(bench->first, NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_package_get(NULL, &package_info) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_package_get(bench->first, NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_package_entry(NULL, 0, &entry) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_package_entry(bench->first, 0, NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_package_entry(bench->first, SIZE_MAX, &entry) == TRLM_ADAPT_USAGE);

    trlm_adapt_finding finding = {.size = sizeof finding};
    trlm_adapt_code code = {.size = sizeof code};
    CHECK(trlm_adapt_findings_count(NULL) == 0);
    CHECK(trlm_adapt_findings_dropped(NULL) == 0);
    CHECK(trlm_adapt_findings_get(NULL, 0, &finding) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_code_get(0, NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_code_find(NULL, &code) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_code_find("zero_effect", NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_code_find("zero_efect", &code) == TRLM_ADAPT_USAGE);
    // Nothing is freed without complaint.
    trlm_adapt_findings_free(NULL);
    trlm_adapt_model_free(NULL);
    trlm_adapt_package_free(NULL);
    trlm_adapt_engine_free(NULL);
    trlm_adapt_plan_free(NULL);
    trlm_adapt_applied_free(NULL);
}

static void refuse_null_in_transactions(const Bench* bench) {
    trlm_adapt_findings* findings = NULL;
    trlm_adapt_engine_description description = bench->engine.description;
    description.identity = &bench->engine.identity;
    trlm_adapt_engine* engine = NULL;
    CHECK(trlm_adapt_engine_describe(NULL, &engine, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_engine_describe(&description, NULL, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    description.identity = NULL;
    CHECK(trlm_adapt_engine_describe(&description, &engine, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    description.identity = &bench->engine.identity;
    description.tensors = NULL;
    CHECK(trlm_adapt_engine_describe(&description, &engine, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    description.tensors = bench->engine.tensors;
    const trlm_adapt_executor none = {.size = sizeof none};
    description.executor = &none;
    CHECK(trlm_adapt_engine_describe(&description, &engine, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(engine == NULL);
    description.executor = NULL;
    CHECK(trlm_adapt_engine_describe(&description, &engine, &findings) == TRLM_ADAPT_OK);

    trlm_adapt_member member = {.size = sizeof member, .package = bench->first, .strength = 1};
    trlm_adapt_plan* plan = NULL;
    CHECK(trlm_adapt_plan_stack(NULL, &member, 1, &plan, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_plan_stack(engine, NULL, 1, &plan, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_plan_stack(engine, &member, 1, NULL, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_plan_stack(engine, &member, 0, &plan, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    member.package = NULL;
    CHECK(trlm_adapt_plan_stack(engine, &member, 1, &plan, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    member.package = bench->first;
    member.strength = 0;
    CHECK(trlm_adapt_plan_stack(engine, &member, 1, &plan, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    member.strength = NAN;
    CHECK(trlm_adapt_plan_stack(engine, &member, 1, &plan, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(plan == NULL);
    trlm_adapt_engine_free(engine);

    plan = plan_first(bench);
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_apply(NULL, NULL, &applied, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_apply(plan, NULL, NULL, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_undo(NULL, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_swap(NULL, plan, NULL, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    trlm_adapt_report report = {.size = sizeof report};
    trlm_adapt_survival survival = {.size = sizeof survival};
    CHECK(trlm_adapt_applied_get(NULL, &report) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_applied_tensor(NULL, 0, &survival) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_apply(plan, NULL, &applied, &findings) == TRLM_ADAPT_OK);
    CHECK(trlm_adapt_swap(applied, NULL, NULL, &findings) == TRLM_ADAPT_USAGE);
    CHECK(is_only(findings, "usage_error"));
    CHECK(trlm_adapt_applied_get(applied, NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_applied_tensor(applied, 0, NULL) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_undo(applied, &findings) == TRLM_ADAPT_OK);
    trlm_adapt_applied_free(applied);
    trlm_adapt_plan_free(plan);
}

// --------------------------------------------------------------------------------------- files

static void refuse_files(const Bench* bench) {
    trlm_adapt_findings* findings = NULL;
    trlm_adapt_package* package = NULL;
    trlm_adapt_model* model = NULL;
    const trlm_adapt_read_options options = {.size = sizeof options, .file = "lent.adapter"};
    const File* file = &bench->first_file;
    CHECK(trlm_adapt_package_read(file->bytes, file->size / 2, &options, &package, &findings) ==
          TRLM_ADAPT_INVALID);
    CHECK(package == NULL);
    trlm_adapt_finding finding = {.size = sizeof finding};
    CHECK(trlm_adapt_findings_count(findings) > 0);
    CHECK(trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK);
    CHECK(strcmp(finding.name, "truncated") == 0);
    CHECK(strcmp(finding.file, "lent.adapter") == 0);
    CHECK(finding.has_offset == 1 && finding.offset == file->size / 2);
    CHECK(finding.severity == TRLM_ADAPT_ERROR);
    trlm_adapt_code code = {.size = sizeof code};
    CHECK(trlm_adapt_code_get(finding.code, &code) == TRLM_ADAPT_OK);
    CHECK(strcmp(code.name, finding.name) == 0 && code.status == TRLM_ADAPT_INVALID);
    CHECK(trlm_adapt_findings_get(findings, trlm_adapt_findings_count(findings), &finding) ==
          TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_findings_get(findings, 0, NULL) == TRLM_ADAPT_USAGE);
    trlm_adapt_findings_free(findings);

    file->bytes[file->size - 1] ^= 1;
    CHECK(trlm_adapt_package_read(file->bytes, file->size, &options, &package, &findings) ==
          TRLM_ADAPT_DRIFT);
    trlm_adapt_findings_free(findings);
    file->bytes[file->size - 1] ^= 1;
    // A package is no model, and a model no package.
    CHECK(trlm_adapt_model_read(file->bytes, file->size, &options, &model, &findings) ==
          TRLM_ADAPT_INVALID);
    trlm_adapt_findings_free(findings);
    const File* slm = &bench->engine.file;
    CHECK(trlm_adapt_package_read(slm->bytes, slm->size, NULL, &package, &findings) ==
          TRLM_ADAPT_INVALID);
    trlm_adapt_findings_free(findings);

    // A later version of the format, and the checksum that only the original writer can compute.
    File copy = read_file(bench->folder, "base.slm");
    copy.bytes[4] = 2;
    CHECK(trlm_adapt_model_read(copy.bytes, copy.size, NULL, &model, &findings) ==
          TRLM_ADAPT_CANNOT_CHECK);
    trlm_adapt_findings_free(findings);
    copy.bytes[4] = 1;
    copy.bytes[8] = 108;  // the short header, whose last four bytes are padding now
    memset(copy.bytes + 108, 0, 4);
    CHECK(trlm_adapt_model_read(copy.bytes, copy.size, NULL, &model, &findings) ==
          TRLM_ADAPT_CANNOT_CHECK);
    CHECK(is_only(findings, "checksum_unverifiable"));
    CHECK(model == NULL);
    const trlm_adapt_read_options accepting = {
        .size = sizeof accepting, .file = "foreign.slm", .accept_foreign_checksum = 1};
    CHECK(trlm_adapt_model_read(copy.bytes, copy.size, &accepting, &model, &findings) ==
          TRLM_ADAPT_OK);
    CHECK(trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK);
    CHECK(finding.severity == TRLM_ADAPT_WARNING);
    CHECK(strcmp(finding.name, "checksum_unverifiable") == 0);
    CHECK(strcmp(finding.file, "foreign.slm") == 0);
    trlm_adapt_findings_free(findings);
    trlm_adapt_model_free(model);
    free(copy.bytes);
}

static void check_codes(void) {
    CHECK(trlm_adapt_abi() == TRLM_ADAPT_ABI);
    int major = 0;
    int minor = 0;
    int patch = 0;
    CHECK(sscanf(trlm_adapt_version(), "%d.%d.%d", &major, &minor, &patch) == 3);
    CHECK(major == TRLM_ADAPT_ABI);
    uint32_t count = 0;
    trlm_adapt_code code = {.size = sizeof code};
    uint32_t statuses = 0;
    while (trlm_adapt_code_get(count, &code) == TRLM_ADAPT_OK) {
        CHECK(code.code == count++);
        CHECK(code.meaning[0] != '\0' && code.cause[0] != '\0' && code.remedy[0] != '\0');
        statuses |= 1U << code.status;
        trlm_adapt_code same = {.size = sizeof same};
        CHECK(trlm_adapt_code_find(code.name, &same) == TRLM_ADAPT_OK);
        CHECK(same.code == code.code);
    }
    CHECK(count > 80);
    CHECK(statuses == 0x7eU);  // 1 to 6
    CHECK(trlm_adapt_code_get(UINT32_MAX, &code) == TRLM_ADAPT_USAGE);
    CHECK(trlm_adapt_code_find("undo_stale", &code) == TRLM_ADAPT_OK);
    CHECK(code.status == TRLM_ADAPT_DRIFT);
}

// -------------------------------------------------------------------------------- descriptions

/// What planning for this description says, as the name of its first finding. `changed` is put
/// back.
static void refuse_view(const Bench* bench, const trlm_adapt_engine_description* description,
                        const char* name, trlm_adapt_status expected) {
    trlm_adapt_engine_description all = *description;
    if (all.identity == NULL) all.identity = &bench->engine.identity;
    trlm_adapt_engine* engine = NULL;
    trlm_adapt_plan* plan = NULL;
    trlm_adapt_findings* findings = NULL;
    CHECK(trlm_adapt_engine_describe(&all, &engine, NULL) == TRLM_ADAPT_OK);
    const trlm_adapt_member member = {
        .size = sizeof member, .package = bench->first, .strength = 1};
    CHECK(trlm_adapt_plan_stack(engine, &member, 1, &plan, &findings) == expected);
    CHECK(plan == NULL);
    trlm_adapt_finding finding = {.size = sizeof finding, .name = ""};
    CHECK(trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK);
    CHECK(strcmp(finding.name, name) == 0);
    trlm_adapt_findings_free(findings);
    trlm_adapt_engine_free(engine);
}

static void refuse_bad_view(const Bench* bench, const trlm_adapt_engine_description* description) {
    refuse_view(bench, description, "bad_view", TRLM_ADAPT_INVALID);
}

static void refuse_descriptions(Bench* bench) {
    Engine* engine = &bench->engine;
    trlm_adapt_engine_description* all = &engine->description;
    trlm_adapt_tensor* tensor = &engine->tensors[0];
    const trlm_adapt_tensor was = *tensor;
    trlm_adapt_plan_free(plan_first(bench));  // it is right as it is

    tensor->payload_bytes -= 1;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->payload_bytes = SIZE_MAX;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->payload = NULL;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->payload = NULL;  // and nothing to reach it by
    tensor->payload_bytes = 0;
    tensor->scales = NULL;
    tensor->scale_bytes = 0;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->payload = engine->tensors[1].payload;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->rank = 5;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->dims[3] = 2;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->dims[0] = 0;
    refuse_bad_view(bench, all);
    *tensor = was;
    memset(tensor->dims, 0xff, sizeof tensor->dims);
    tensor->rank = 4;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->block_size = 3;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->name = "another";
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->name_hash ^= 1;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->max_abs = -1;
    refuse_bad_view(bench, all);
    *tensor = was;
    tensor->dtype = 9;
    refuse_view(bench, all, "unsupported_dtype", TRLM_ADAPT_CANNOT_CHECK);
    *tensor = was;
    *tensor = engine->tensors[1];  // described twice
    refuse_bad_view(bench, all);
    *tensor = was;

    // Scales, or the values of an f32 model, that are not where an f32 may be.
    unsigned char* moved = malloc(was.payload_bytes + was.scale_bytes + 8);
    if (was.scale_bytes > 0) {
        tensor->scales = moved + 1;
    } else {
        tensor->payload = moved + 1;
    }
    refuse_bad_view(bench, all);
    *tensor = was;
    free(moved);

    all->tensor_count -= 1;
    refuse_bad_view(bench, all);
    all->tensor_count = 0;
    refuse_bad_view(bench, all);
    all->tensor_count = engine->tensor_count;

    // An identity that is that of other tensors, field by field.
    trlm_adapt_identity lie = engine->identity;
    all->identity = &lie;
    lie.tensor_count += 1;
    refuse_bad_view(bench, all);
    lie = engine->identity;
    lie.parameter_count += 1;
    refuse_bad_view(bench, all);
    lie = engine->identity;
    lie.tensor_layout_checksum += 1;
    refuse_bad_view(bench, all);
    // What the tensors do not tell, the package does.
    lie = engine->identity;
    lie.tokenizer_checksum += 1;
    refuse_view(bench, all, "tokenizer_differs", TRLM_ADAPT_INCOMPATIBLE);
    lie = engine->identity;
    lie.model_flags ^= 1;
    refuse_view(bench, all, "flags_differ", TRLM_ADAPT_INCOMPATIBLE);
    all->identity = NULL;
}

static int never(void* context) {
    ++*(int*)context;
    return 0;
}

static void must_not_end(void* context) {
    const bool begun = context == NULL;  // it never is
    CHECK(begun);
}

static int no_rows(void* context, size_t tensor, uint64_t first_row, uint64_t rows, void* payload,
                   size_t payload_bytes, void* scales, size_t scale_bytes) {
    (void)context, (void)tensor, (void)first_row, (void)rows;
    (void)payload, (void)payload_bytes, (void)scales, (void)scale_bytes;
    return 0;
}

static void refuse_halves(Bench* bench) {
    trlm_adapt_engine_description* all = &bench->engine.description;
    CountingMemory memory = {.left = SIZE_MAX};
    const trlm_adapt_allocator whole = counting_allocator(&memory);
    trlm_adapt_allocator allocator = whole;
    all->allocator = &allocator;
    allocator.allocate = NULL;
    refuse_bad_view(bench, all);
    allocator = whole;
    allocator.release = NULL;
    refuse_bad_view(bench, all);
    all->allocator = NULL;

    int calls = 0;
    trlm_adapt_quiescence quiescence = {
        .size = sizeof quiescence, .end = must_not_end, .context = &calls};
    all->quiescence = &quiescence;
    refuse_bad_view(bench, all);
    quiescence.begin = never;
    quiescence.end = NULL;
    refuse_bad_view(bench, all);
    all->quiescence = NULL;

    trlm_adapt_access access = {.size = sizeof access, .read = no_rows};
    all->access = &access;
    refuse_bad_view(bench, all);
    all->access = NULL;
}

// -------------------------------------------------------------------------------- applications

/// Applying this plan is refused, and nothing changes.
static void refuse_apply(const Bench* bench, const trlm_adapt_plan* plan,
                         const trlm_adapt_apply_options* options, const char* name,
                         trlm_adapt_status expected) {
    trlm_adapt_findings* findings = NULL;
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_apply(plan, options, &applied, &findings) == expected);
    CHECK(applied == NULL);
    trlm_adapt_finding finding = {.size = sizeof finding, .name = ""};
    CHECK(trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK);
    CHECK(strcmp(finding.name, name) == 0);
    trlm_adapt_findings_free(findings);
    CHECK(has_bytes(&bench->engine, &bench->base));
}

static int stop(void* context, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    return ++*(int*)context < 2;  // at the second call
}

static void refuse_policies(const Bench* bench) {
    File zero_file = read_file(bench->folder, "zero.adapter");
    trlm_adapt_package* zero = read_package(&zero_file);
    trlm_adapt_plan* plan = plan_one(bench, zero, 1.0F);
    refuse_apply(bench, plan, NULL, "zero_effect", TRLM_ADAPT_POLICY);
    trlm_adapt_apply_options options = {.size = sizeof options, .allow_no_effect = 1};
    trlm_adapt_findings* findings = NULL;
    trlm_adapt_applied* applied = NULL;
    CHECK(trlm_adapt_apply(plan, &options, &applied, &findings) == TRLM_ADAPT_OK);
    trlm_adapt_finding finding = {.size = sizeof finding};
    CHECK(trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK);
    CHECK(finding.severity == TRLM_ADAPT_WARNING);
    CHECK(is_only(findings, "zero_effect"));
    trlm_adapt_report report = {.size = sizeof report};
    CHECK(trlm_adapt_applied_get(applied, &report) == TRLM_ADAPT_OK);
    CHECK(report.zero_effect == 1 && report.is_applied == 1);
    CHECK(trlm_adapt_undo(applied, NULL) == TRLM_ADAPT_OK);
    trlm_adapt_applied_free(applied);
    trlm_adapt_plan_free(plan);
    trlm_adapt_package_free(zero);
    free(zero_file.bytes);

    plan = plan_first(bench);
    options = (trlm_adapt_apply_options){
        .size = sizeof options, .has_min_survival = 1, .min_survival = 2};
    refuse_apply(bench, plan, &options, "survival_below_threshold", TRLM_ADAPT_POLICY);
    options = (trlm_adapt_apply_options){.size = sizeof options, .rounding = 3};
    refuse_apply(bench, plan, &options, "usage_error", TRLM_ADAPT_USAGE);
    int calls = 0;
    options = (trlm_adapt_apply_options){
        .size = sizeof options, .progress = stop, .progress_context = &calls};
    refuse_apply(bench, plan, &options, "output_failed", TRLM_ADAPT_CANNOT_CHECK);
    trlm_adapt_plan_free(plan);
}

static void refuse_what_does_not_fit(const Bench* bench) {
    File huge_file = read_file(bench->folder, "huge.adapter");
    trlm_adapt_package* huge = read_package(&huge_file);
    trlm_adapt_plan* plan = plan_one(bench, huge, 1e30F);
    refuse_apply(bench, plan, NULL, "fused_non_finite", TRLM_ADAPT_INCOMPATIBLE);
    trlm_adapt_plan_free(plan);
    trlm_adapt_package_free(huge);
    free(huge_file.bytes);

    File other_file = read_file(bench->folder, "other.adapter");
    trlm_adapt_package* other = NULL;
    const trlm_adapt_read_options options = {.size = sizeof options, .file = "other.adapter"};
    CHECK(trlm_adapt_package_read(other_file.bytes, other_file.size, &options, &other, NULL) ==
          TRLM_ADAPT_OK);
    trlm_adapt_engine_description description = bench->engine.description;
    description.identity = &bench->engine.identity;
    trlm_adapt_engine* engine = NULL;
    CHECK(trlm_adapt_engine_describe(&description, &engine, NULL) == TRLM_ADAPT_OK);
    const trlm_adapt_member member = {.size = sizeof member, .package = other, .strength = 1};
    trlm_adapt_findings* findings = NULL;
    CHECK(trlm_adapt_plan_stack(engine, &member, 1, &plan, &findings) == TRLM_ADAPT_INCOMPATIBLE);
    CHECK(plan == NULL);
    trlm_adapt_finding finding = {.size = sizeof finding};
    CHECK(trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK);
    CHECK(strcmp(finding.file, "other.adapter") == 0);
    trlm_adapt_findings_free(findings);
    trlm_adapt_engine_free(engine);
    trlm_adapt_package_free(other);
    free(other_file.bytes);
}

static void run_none(void* context, size_t count, void (*task)(void*, size_t), void* task_context) {
    (void)context, (void)count, (void)task, (void)task_context;
}

static void run_all_but_one(void* context, size_t count, void (*task)(void*, size_t),
                            void* task_context) {
    (void)context;
    for (size_t i = 1; i < count; ++i)
        task(task_context, i);
}

static void refuse_dropped_tasks(Bench* bench) {
    File second_file = read_file(bench->folder, "second.adapter");
    trlm_adapt_package* second = read_package(&second_file);
    trlm_adapt_package* packages[] = {bench->first, second};
    const float strengths[] = {1, 1};
    void (*const droppers[])(void*, size_t, void (*)(void*, size_t), void*) = {run_none,
                                                                               run_all_but_one};
    for (size_t i = 0; i < 2; ++i) {
        const trlm_adapt_executor executor = {sizeof executor, droppers[i], NULL, 2};
        bench->engine.description.executor = &executor;
        // Without a bound everything is computed before; each of the tensors is a task.
        for (size_t t = 0; t < bench->engine.tensor_count; ++t)
            bench->engine.tensors[t].max_abs = 0;
        trlm_adapt_plan* plan = plan_for(&bench->engine, packages, strengths, 2);
        bench->engine.description.executor = NULL;
        refuse_apply(bench, plan, NULL, "executor_failed", TRLM_ADAPT_CANNOT_CHECK);
        trlm_adapt_plan_free(plan);
    }
    trlm_adapt_package_free(second);
    free(second_file.bytes);
}

static void refuse_to_rest(Bench* bench) {
    int calls = 0;
    const trlm_adapt_quiescence quiescence = {sizeof quiescence, never, must_not_end, &calls};
    bench->engine.description.quiescence = &quiescence;
    trlm_adapt_plan* plan = plan_first(bench);
    bench->engine.description.quiescence = NULL;
    refuse_apply(bench, plan, NULL, "output_failed", TRLM_ADAPT_CANNOT_CHECK);
    CHECK(calls == 1);
    trlm_adapt_plan_free(plan);
}

// ------------------------------------------------------------------------------- out of memory

/// Memory that runs out at each piece, in an application, an exchange and an undo.
static void run_out_of_memory(Bench* bench) {
    CountingMemory memory = {.left = SIZE_MAX};
    const trlm_adapt_allocator allocator = counting_allocator(&memory);
    bench->engine.description.allocator = &allocator;
    File file = read_file(bench->folder, "second.adapter");
    trlm_adapt_package* second = read_package(&file);
    trlm_adapt_plan* plan = plan_first(bench);
    trlm_adapt_plan* next = plan_one(bench, second, 1.0F);
    bench->engine.description.allocator = NULL;

    trlm_adapt_applied* applied = NULL;
    File before = bytes_of(&bench->engine);
    for (int step = 0; step < 3; ++step) {
        const size_t out = memory.pieces_out;
        trlm_adapt_status status = TRLM_ADAPT_CANNOT_CHECK;
        size_t pieces = 0;
        for (; status != TRLM_ADAPT_OK && pieces < 1000; ++pieces) {
            memory.left = pieces;
            trlm_adapt_findings* findings = NULL;
            status = step == 0   ? trlm_adapt_apply(plan, NULL, &applied, &findings)
                     : step == 1 ? trlm_adapt_swap(applied, next, NULL, &findings)
                                 : trlm_adapt_undo(applied, &findings);
            if (status == TRLM_ADAPT_OK) break;
            CHECK(status == TRLM_ADAPT_CANNOT_CHECK);
            CHECK(is_only(findings, "out_of_memory"));
            CHECK(has_bytes(&bench->engine, &before));
            CHECK(memory.pieces_out == out);
        }
        CHECK(status == TRLM_ADAPT_OK);
        CHECK(pieces > 2);
        CHECK(!has_bytes(&bench->engine, &before));
        free(before.bytes);
        before = bytes_of(&bench->engine);
    }
    CHECK(has_bytes(&bench->engine, &bench->base));
    trlm_adapt_applied_free(applied);
    CHECK(memory.pieces_out == 0);
    free(before.bytes);
    trlm_adapt_plan_free(plan);
    trlm_adapt_plan_free(next);
    trlm_adapt_package_free(second);
    free(file.bytes);
}

// ---------------------------------------------------------------------------------------- undo

static void refuse_undo(const Bench* bench) {
    trlm_adapt_findings* findings = NULL;
    trlm_adapt_applied* applied = apply_first(bench);
    trlm_adapt_plan* plan = plan_first(bench);
    File after = bytes_of(&bench->engine);

    // A weight that somebody else changed.
    trlm_adapt_entry entry = {.size = sizeof entry};
    CHECK(trlm_adapt_package_entry(bench->first, 0, &entry) == TRLM_ADAPT_OK);
    unsigned char* weight = NULL;
    for (size_t i = 0; i < bench->engine.tensor_count; ++i) {
        if (bench->engine.tensors[i].name_hash == entry.name_hash) {
            weight = bench->engine.tensors[i].payload;
        }
    }
    weight[0] ^= 1;
    CHECK(trlm_adapt_undo(applied, &findings) == TRLM_ADAPT_DRIFT);
    CHECK(is_only(findings, "undo_stale"));
    CHECK(trlm_adapt_swap(applied, plan, NULL, &findings) == TRLM_ADAPT_DRIFT);
    CHECK(is_only(findings, "undo_stale"));
    weight[0] ^= 1;
    CHECK(has_bytes(&bench->engine, &after));

    // The plan of another engine.
    Engine other = load_engine(bench->folder, "base.slm");
    File others = bytes_of(&other);
    const float strength = 1.0F;
    trlm_adapt_package* package = bench->first;
    trlm_adapt_plan* others_plan = plan_for(&other, &package, &strength, 1);
    CHECK(trlm_adapt_swap(applied, others_plan, NULL, &findings) == TRLM_ADAPT_INVALID);
    trlm_adapt_finding finding = {.size = sizeof finding};
    CHECK(trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK);
    CHECK(strcmp(finding.name, "bad_view") == 0);
    trlm_adapt_findings_free(findings);
    CHECK(has_bytes(&bench->engine, &after));
    CHECK(has_bytes(&other, &others));
    trlm_adapt_plan_free(others_plan);
    free(others.bytes);
    free_engine(&other);

    // Twice.
    CHECK(trlm_adapt_undo(applied, &findings) == TRLM_ADAPT_OK);
    CHECK(findings == NULL);
    CHECK(trlm_adapt_undo(applied, &findings) == TRLM_ADAPT_DRIFT);
    CHECK(is_only(findings, "undo_stale"));
    CHECK(has_bytes(&bench->engine, &bench->base));
    trlm_adapt_applied_free(applied);
    trlm_adapt_plan_free(plan);
    free(after.bytes);
}

static void refuse_undo_without_base(Bench* bench) {
    bench->engine.description.discard_base = 1;
    trlm_adapt_applied* applied = apply_first(bench);
    bench->engine.description.discard_base = 0;
    trlm_adapt_report report = {.size = sizeof report};
    CHECK(trlm_adapt_applied_get(applied, &report) == TRLM_ADAPT_OK);
    CHECK(report.kept_bytes == 0 && report.is_applied == 1);
    trlm_adapt_findings* findings = NULL;
    CHECK(trlm_adapt_undo(applied, &findings) == TRLM_ADAPT_DRIFT);
    CHECK(is_only(findings, "undo_stale"));
    trlm_adapt_applied_free(applied);
    // It has to be loaded anew.
    free_engine(&bench->engine);
    bench->engine = load_engine(bench->folder, "base.slm");
}

int main(int argc, char** argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    Bench bench = make_bench(argv[1]);
    refuse_null(&bench);
    refuse_null_in_transactions(&bench);
    refuse_files(&bench);
    check_codes();
    refuse_descriptions(&bench);
    refuse_halves(&bench);
    refuse_policies(&bench);
    refuse_what_does_not_fit(&bench);
    refuse_dropped_tasks(&bench);
    refuse_to_rest(&bench);
    run_out_of_memory(&bench);
    refuse_undo(&bench);
    refuse_undo_without_base(&bench);
    free_bench(&bench);
    return finish();
}
