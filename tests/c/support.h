#ifndef SUPPORT_H
#define SUPPORT_H
// What the C tests share: checks that count, files, and an engine whose tensors lie in its memory.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <trlm_adapt.h>

// A macro for the sake of the place that it reports.
#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)

/// Counts a check, and tells of one that failed.
bool check(bool condition, const char* text, const char* file, int line);

/// Ends the program: 0 when all checks held.
int finish(void);

/// A whole file in memory of its own.
typedef struct File {
    unsigned char* bytes;
    size_t size;
} File;

/// Reads FOLDER/NAME, or ends the program.
File read_file(const char* folder, const char* name);

/// Reads and checks a model or a package, or ends the program.
trlm_adapt_model* read_model(const File* file);
trlm_adapt_package* read_package(const File* file);

/// A model whose tensors were copied into memory that belongs to the engine alone.
typedef struct Engine {
    File file;
    trlm_adapt_model* model;
    trlm_adapt_identity identity;
    trlm_adapt_tensor* tensors;
    size_t tensor_count;
    trlm_adapt_engine_description description;  ///< of all of it; to be changed by a test
} Engine;

/// Loads FOLDER/NAME.
Engine load_engine(const char* folder, const char* name);
void free_engine(Engine* engine);

/// All bytes of all tensors as they are now, to be freed by the caller.
File bytes_of(const Engine* engine);

/// Whether the tensors have these bytes.
bool has_bytes(const Engine* engine, const File* bytes);

/// The bytes of the tensors of the model FOLDER/NAME.
File bytes_of_file(const char* folder, const char* name);

/// A plan for `count` packages with these strengths, or the end of the program.
trlm_adapt_plan* plan_for(const Engine* engine, trlm_adapt_package* const* packages,
                          const float* strengths, size_t count);

/// Whether the findings are one with this code; they are freed.
bool is_only(trlm_adapt_findings* findings, const char* name);

/// Memory that gives only so many pieces, and counts those that are out.
typedef struct CountingMemory {
    size_t left;
    size_t pieces_out;
    size_t calls;
} CountingMemory;

/// An allocator over it.
trlm_adapt_allocator counting_allocator(CountingMemory* memory);

#endif
