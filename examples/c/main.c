// An adapter put into weights in memory, and taken out again: adapt MODEL PACKAGE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <trlm_adapt.h>

typedef struct File {
    void* bytes;
    size_t size;
} File;

static File read_file(const char* path) {
    File file = {NULL, 0};
    FILE* stream = fopen(path, "rb");
    if (stream == NULL) return file;
    fseek(stream, 0, SEEK_END);
    const long size = ftell(stream);
    rewind(stream);
    if (size > 0) file.bytes = malloc((size_t)size);
    if (file.bytes != NULL) file.size = fread(file.bytes, 1, (size_t)size, stream);
    fclose(stream);
    return file;
}

static void tell(const char* what, const trlm_adapt_applied* applied) {
    trlm_adapt_report report = {.size = sizeof report};
    trlm_adapt_applied_get(applied, &report);
    printf("%s: state xxh3-64:%016" PRIx64 "\n", what, report.state);
}

static trlm_adapt_status adapt(File model_file, File package_file, trlm_adapt_findings** findings) {
    trlm_adapt_model* model = NULL;
    trlm_adapt_package* package = NULL;
    trlm_adapt_engine* engine = NULL;
    trlm_adapt_plan* plan = NULL;
    trlm_adapt_applied* applied = NULL;
    trlm_adapt_tensor* tensors = NULL;
    trlm_adapt_status status =
        trlm_adapt_model_read(model_file.bytes, model_file.size, NULL, &model, findings);
    if (status != TRLM_ADAPT_OK) goto done;

    // The weights are used where they were loaded; an engine may as well have copied them.
    trlm_adapt_identity identity = {.size = sizeof identity};
    trlm_adapt_model_identity(model, &identity);
    tensors = calloc(identity.tensor_count, sizeof *tensors);
    for (size_t i = 0; tensors != NULL && i < identity.tensor_count; ++i) {
        tensors[i].size = sizeof tensors[i];
        trlm_adapt_model_tensor(model, i, &tensors[i]);
        tensors[i].payload = (void*)tensors[i].file_payload;
        tensors[i].scales = (void*)tensors[i].file_scales;
    }
    const trlm_adapt_engine_description description = {.size = sizeof description,
                                                       .identity = &identity,
                                                       .tensors = tensors,
                                                       .tensor_count = identity.tensor_count,
                                                       .threads = 2};
    status = trlm_adapt_engine_describe(&description, &engine, findings);
    if (status != TRLM_ADAPT_OK) goto done;
    status =
        trlm_adapt_package_read(package_file.bytes, package_file.size, NULL, &package, findings);
    if (status != TRLM_ADAPT_OK) goto done;
    const trlm_adapt_member stack[] = {{.size = sizeof *stack, .package = package, .strength = 1}};
    status = trlm_adapt_plan_stack(engine, stack, 1, &plan, findings);
    if (status != TRLM_ADAPT_OK) goto done;
    status = trlm_adapt_apply(plan, NULL, &applied, findings);
    if (status != TRLM_ADAPT_OK) goto done;
    tell("applied", applied);
    status = trlm_adapt_undo(applied, findings);
    if (status == TRLM_ADAPT_OK) tell("undone", applied);

done:  // NULL is freed too
    trlm_adapt_applied_free(applied);
    trlm_adapt_plan_free(plan);
    trlm_adapt_engine_free(engine);
    trlm_adapt_package_free(package);
    trlm_adapt_model_free(model);
    free(tensors);
    return status;
}

int main(int argc, char** argv) {
    if (argc != 3) return TRLM_ADAPT_USAGE;
    const File model_file = read_file(argv[1]);
    const File package_file = read_file(argv[2]);
    trlm_adapt_findings* findings = NULL;
    const trlm_adapt_status status = adapt(model_file, package_file, &findings);
    for (size_t i = 0; i < trlm_adapt_findings_count(findings); ++i) {
        trlm_adapt_finding finding = {.size = sizeof finding};
        trlm_adapt_findings_get(findings, i, &finding);
        fprintf(stderr, "%s [%s]\n", finding.message, finding.name);
    }
    trlm_adapt_findings_free(findings);
    free(model_file.bytes);
    free(package_file.bytes);
    return (int)status;
}
