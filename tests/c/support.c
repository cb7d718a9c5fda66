#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks = 0;
static int failures = 0;

bool check(bool condition, const char* text, const char* file, int line) {
    ++checks;
    if (!condition) {
        ++failures;
        fprintf(stderr, "%s:%d: %s\n", file, line, text);
    }
    return condition;
}

int finish(void) {
    printf("%d checks, %d failed\n", checks, failures);
    return checks > 0 && failures == 0 ? 0 : 1;
}

static void give_up(const char* what) {
    fprintf(stderr, "cannot go on: %s\n", what);
    exit(1);
}

static void* take(size_t bytes) {
    void* memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL) give_up("no memory");
    return memory;
}

File read_file(const char* folder, const char* name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE* stream = fopen(path, "rb");
    if (stream == NULL) give_up(path);
    fseek(stream, 0, SEEK_END);
    File file = {NULL, (size_t)ftell(stream)};
    rewind(stream);
    file.bytes = take(file.size);
    if (fread(file.bytes, 1, file.size, stream) != file.size) give_up(path);
    fclose(stream);
    return file;
}

static void give_up_with(trlm_adapt_findings* findings) {
    trlm_adapt_finding finding = {.size = sizeof finding};
    if (trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK) give_up(finding.message);
    give_up("nothing was found");
}

trlm_adapt_model* read_model(const File* file) {
    trlm_adapt_model* model = NULL;
    trlm_adapt_findings* findings = NULL;
    if (trlm_adapt_model_read(file->bytes, file->size, NULL, &model, &findings) != TRLM_ADAPT_OK) {
        give_up_with(findings);
    }
    return model;
}

trlm_adapt_package* read_package(const File* file) {
    trlm_adapt_package* package = NULL;
    trlm_adapt_findings* findings = NULL;
    if (trlm_adapt_package_read(file->bytes, file->size, NULL, &package, &findings) !=
        TRLM_ADAPT_OK) {
        give_up_with(findings);
    }
    return package;
}

Engine load_engine(const char* folder, const char* name) {
    Engine engine = {.file = read_file(folder, name)};
    engine.model = read_model(&engine.file);
    engine.identity.size = sizeof engine.identity;
    trlm_adapt_model_info info = {.size = sizeof info};
    if (trlm_adapt_model_identity(engine.model, &engine.identity) != TRLM_ADAPT_OK ||
        trlm_adapt_model_get(engine.model, &info) != TRLM_ADAPT_OK) {
        give_up("the model does not say what it is");
    }
    engine.tensor_count = info.tensor_count;
    engine.tensors = take(engine.tensor_count * sizeof *engine.tensors);
    for (size_t i = 0; i < engine.tensor_count; ++i) {
        trlm_adapt_tensor* tensor = &engine.tensors[i];
        memset(tensor, 0, sizeof *tensor);
        tensor->size = sizeof *tensor;
        if (trlm_adapt_model_tensor(engine.model, i, tensor) != TRLM_ADAPT_OK) give_up("no tensor");
        tensor->payload = take(tensor->payload_bytes);
        memcpy(tensor->payload, tensor->file_payload, tensor->payload_bytes);
        if (tensor->scale_bytes == 0) continue;
        tensor->scales = take(tensor->scale_bytes);
        memcpy(tensor->scales, tensor->file_scales, tensor->scale_bytes);
    }
    engine.description.size = sizeof engine.description;
    engine.description.tensors = engine.tensors;
    engine.description.tensor_count = engine.tensor_count;
    return engine;
}

void free_engine(Engine* engine) {
    for (size_t i = 0; i < engine->tensor_count; ++i) {
        free(engine->tensors[i].payload);
        free(engine->tensors[i].scales);
    }
    free(engine->tensors);
    trlm_adapt_model_free(engine->model);
    free(engine->file.bytes);
}

/// The bytes of `count` tensors one after the other, from the file or from the engine's memory.
static File join(const trlm_adapt_tensor* tensors, size_t count, bool of_file) {
    File all = {NULL, 0};
    for (size_t i = 0; i < count; ++i)
        all.size += tensors[i].payload_bytes + tensors[i].scale_bytes;
    all.bytes = take(all.size);
    unsigned char* end = all.bytes;
    for (size_t i = 0; i < count; ++i) {
        const trlm_adapt_tensor* tensor = &tensors[i];
        memcpy(end, of_file ? tensor->file_payload : tensor->payload, tensor->payload_bytes);
        end += tensor->payload_bytes;
        if (tensor->scale_bytes == 0) continue;
        memcpy(end, of_file ? tensor->file_scales : tensor->scales, tensor->scale_bytes);
        end += tensor->scale_bytes;
    }
    return all;
}

File bytes_of(const Engine* engine) {
    return join(engine->tensors, engine->tensor_count, false);
}

bool has_bytes(const Engine* engine, const File* bytes) {
    File now = bytes_of(engine);
    const bool same = now.size == bytes->size && memcmp(now.bytes, bytes->bytes, now.size) == 0;
    free(now.bytes);
    return same;
}

File bytes_of_file(const char* folder, const char* name) {
    Engine engine = load_engine(folder, name);
    const File all = join(engine.tensors, engine.tensor_count, true);
    free_engine(&engine);
    return all;
}

trlm_adapt_plan* plan_for(const Engine* engine, trlm_adapt_package* const* packages,
                          const float* strengths, size_t count) {
    trlm_adapt_findings* findings = NULL;
    trlm_adapt_engine* described = NULL;
    trlm_adapt_engine_description description = engine->description;
    description.identity = &engine->identity;
    if (trlm_adapt_engine_describe(&description, &described, &findings) != TRLM_ADAPT_OK) {
        give_up_with(findings);
    }
    trlm_adapt_member members[8];
    memset(members, 0, sizeof members);
    for (size_t i = 0; i < count; ++i) {
        members[i].size = sizeof members[i];
        members[i].package = packages[i];
        members[i].strength = strengths[i];
    }
    trlm_adapt_plan* plan = NULL;
    if (trlm_adapt_plan_stack(described, members, count, &plan, &findings) != TRLM_ADAPT_OK) {
        give_up_with(findings);
    }
    trlm_adapt_engine_free(described);  // the plan keeps what it needs of it
    return plan;
}

bool is_only(trlm_adapt_findings* findings, const char* name) {
    trlm_adapt_finding finding = {.size = sizeof finding};
    const bool one = trlm_adapt_findings_count(findings) == 1 &&
                     trlm_adapt_findings_dropped(findings) == 0 &&
                     trlm_adapt_findings_get(findings, 0, &finding) == TRLM_ADAPT_OK &&
                     strcmp(finding.name, name) == 0 && finding.message[0] != '\0';
    if (!one) fprintf(stderr, "expected %s, found %s\n", name, finding.name ? finding.name : "-");
    trlm_adapt_findings_free(findings);
    return one;
}

static void* allocate(void* context, size_t bytes, size_t alignment) {
    CountingMemory* memory = context;
    ++memory->calls;
    if (memory->left == 0) return NULL;
    --memory->left;
    ++memory->pieces_out;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void release(void* context, void* piece, size_t bytes, size_t alignment) {
    CountingMemory* memory = context;
    (void)bytes;
    (void)alignment;
    --memory->pieces_out;
    free(piece);
}

trlm_adapt_allocator counting_allocator(CountingMemory* memory) {
    const trlm_adapt_allocator allocator = {sizeof allocator, allocate, release, memory};
    return allocator;
}
