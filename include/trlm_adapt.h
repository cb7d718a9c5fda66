#ifndef TRLM_ADAPT_H
#define TRLM_ADAPT_H
// The C interface of trlm-adapt: adapters put into an engine's memory, taken out, exchanged.
// docs/c-api.md
//
// Calls. A function that can fail returns a status, and through its last argument the findings that
// explain it: errors, and the warnings of a call that went well. They are NULL when there are none,
// or no memory for them; a caller who does not want them gives NULL. Nothing is thrown, printed or
// aborted, and a NULL where something has to be given is a finding (`usage_error`). A call that
// fails has changed nothing, and an object that it should have made is NULL.
//
// Structs. The first member of every struct is its size as the caller compiled it. A later version
// may add members at the end: the library reads and writes only what both sides know, and takes
// what the caller's struct does not have yet as 0. Everything that may be left out is left out by
// 0, so set a struct to 0 before its size. A size that lacks a member which has to be given is a
// `usage_error`. In an array the elements lie as far apart as the first one's size says, and all
// have that size.
//
// Objects. Each is made by one function and freed by another, which takes NULL too. They may be
// freed in any order: a plan keeps what it needs of its engine, and what is applied of its plan.
// What is not copied is the memory that the caller points to: the bytes of models and packages,
// the engine's tensors, and whatever the callbacks' contexts lead to.
//
// Threads. There is no global state. Models, packages, engines, plans and findings never change:
// any number of threads may read them, or plan and apply with them, at once. An applied stack
// belongs to one thread at a time, as does the memory of the tensors that it changes. Freeing an
// object is the last thing that is done to it.
//
// Callbacks. They return: they neither throw nor jump out, and they do not call the library for the
// engine that they belong to.

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// What a call found.
typedef struct trlm_adapt_findings trlm_adapt_findings;
/// An SLM1 file that was read, over bytes of the caller's.
typedef struct trlm_adapt_model trlm_adapt_model;
/// An ADP1, ASP1 or ALR1 file that was read, over bytes of the caller's.
typedef struct trlm_adapt_package trlm_adapt_package;
/// An engine's tensors and what it lends, over memory of the caller's.
typedef struct trlm_adapt_engine trlm_adapt_engine;
/// A stack of packages that was checked against an engine.
typedef struct trlm_adapt_plan trlm_adapt_plan;
/// A stack that lies in an engine's memory.
typedef struct trlm_adapt_applied trlm_adapt_applied;

#pragma GCC visibility push(default)

// ------------------------------------------------------------------------------------- version

/// The interface of this header.
enum {
    TRLM_ADAPT_ABI = 1  ///< its version; what it has is never changed or taken away
};

/// The version of the interface that the library offers: it fits a program that was compiled with
/// the same `TRLM_ADAPT_ABI`.
uint32_t trlm_adapt_abi(void);

/// The version of the library, "MAJOR.MINOR.PATCH". It lives as long as the library is loaded.
const char* trlm_adapt_version(void);

// ------------------------------------------------------------------------------------ findings

/// How a call ended: the class of its findings, the same numbers as the tool's exit codes.
typedef enum trlm_adapt_status {
    TRLM_ADAPT_OK = 0,            ///< done; there may be warnings
    TRLM_ADAPT_INVALID = 1,       ///< malformed bytes, or a description that contradicts itself
    TRLM_ADAPT_USAGE = 2,         ///< a call that is wrong
    TRLM_ADAPT_DRIFT = 3,         ///< a checksum differs, or memory was changed by somebody else
    TRLM_ADAPT_INCOMPATIBLE = 4,  ///< well-formed, but it does not fit
    TRLM_ADAPT_CANNOT_CHECK = 5,  ///< no verdict: no memory, cancelled, or a callback that failed
    TRLM_ADAPT_POLICY = 6         ///< it fits, but is not wanted: no effect, too little survival
} trlm_adapt_status;

/// How severe a finding is.
enum {
    TRLM_ADAPT_ERROR = 0,   ///< it decides the status
    TRLM_ADAPT_WARNING = 1  ///< it does not
};

/// One defect. Texts are UTF-8, never NULL, empty where they do not apply, and live as long as the
/// findings.
typedef struct trlm_adapt_finding {
    size_t size;           ///< of this struct
    const char* name;      ///< of the code, as in docs/findings.md; it never changes its meaning
    const char* message;   ///< one sentence without file name and code
    const char* file;      ///< as the caller named it
    const char* tensor;    ///< its name, or `0x` and 16 digits of its hash
    const char* pointer;   ///< JSON pointer into metadata
    const char* expected;  ///< what should have been there
    const char* actual;    ///< what was there
    uint64_t offset;       ///< bytes from the start of the file, where `has_offset`
    uint64_t element;      ///< flat element, row or block, as the message says, where `has_element`
    uint32_t code;         ///< its number in this version of the library; see `trlm_adapt_code`
    uint32_t severity;     ///< `TRLM_ADAPT_ERROR` or `TRLM_ADAPT_WARNING`
    uint32_t has_offset;   ///< 0 or 1
    uint32_t has_element;  ///< 0 or 1
} trlm_adapt_finding;

/// Number of findings that can be read; 0 for NULL.
size_t trlm_adapt_findings_count(const trlm_adapt_findings* findings);

/// Number of further findings that were not kept, as there were too many or no memory for them;
/// 0 for NULL.
uint64_t trlm_adapt_findings_dropped(const trlm_adapt_findings* findings);

/// Finding `index`, into `finding`. `TRLM_ADAPT_USAGE` past the end.
trlm_adapt_status trlm_adapt_findings_get(const trlm_adapt_findings* findings, size_t index,
                                          trlm_adapt_finding* finding);

/// Frees findings, and the texts that were read from them.
void trlm_adapt_findings_free(trlm_adapt_findings* findings);

/// What is to be known of a finding code. The texts live as long as the library is loaded.
typedef struct trlm_adapt_code {
    size_t size;          ///< of this struct
    const char* name;     ///< e.g. "zero_effect"
    const char* meaning;  ///< what it says
    const char* cause;    ///< what usually brings it about
    const char* remedy;   ///< what to do
    uint32_t code;        ///< its number; another version may number it otherwise
    uint32_t status;      ///< the `trlm_adapt_status` of a call that failed with it alone
} trlm_adapt_code;

/// Code `code`, into `info`; codes are numbered from 0 without gaps. `TRLM_ADAPT_USAGE` past the
/// last one.
trlm_adapt_status trlm_adapt_code_get(uint32_t code, trlm_adapt_code* info);

/// The code named `name`, into `info`. `TRLM_ADAPT_USAGE` when there is none. O(codes).
trlm_adapt_status trlm_adapt_code_find(const char* name, trlm_adapt_code* info);

// -------------------------------------------------------------------------- models and packages

/// What an adapter must match: the same for a model in each of its storages.
/// docs/formats.md, section 2
typedef struct trlm_adapt_identity {
    size_t size;                      ///< of this struct; all members have to be given
    uint64_t parameter_count;         ///< elements of all tensors
    uint64_t tensor_layout_checksum;  ///< over the tensors' name hashes and dimensions
    uint64_t tokenizer_checksum;      ///< over the tokenizer section
    uint32_t model_flags;             ///< bit 0: the output projection is the embedding's
    uint32_t tensor_count;            ///< number of tensors
} trlm_adapt_identity;

/// How values are stored, as in SLM1. docs/formats.md, section 1
enum {
    TRLM_ADAPT_F32 = 1,   ///< 4 bytes a value
    TRLM_ADAPT_Q8_0 = 2,  ///< 1 byte a value, an f32 scale for each row
    TRLM_ADAPT_Q4_0 = 3   ///< 2 values a byte, an f32 scale for each block of a row
};

/// A tensor: read from a file, or in an engine's memory, or both. What `trlm_adapt_model_tensor`
/// fills in can be handed to `trlm_adapt_engine_describe` once `payload` and `scales` point to
/// memory of the engine's.
typedef struct trlm_adapt_tensor {
    size_t size;               ///< of this struct; required up to `scales`
    const char* name;          ///< for findings and reports; may be NULL or empty
    uint64_t name_hash;        ///< FNV-1a 64 of the name; 0: computed from it
    uint32_t dtype;            ///< `TRLM_ADAPT_F32`, `TRLM_ADAPT_Q8_0` or `TRLM_ADAPT_Q4_0`
    uint32_t block_size;       ///< f32: 0; q8_0: columns; q4_0: even, and a divisor of the columns
    uint32_t rank;             ///< number of dimensions, 1 to 4
    uint32_t dims[4];          ///< row-major, the last one contiguous; unused ones 0 or 1
    float max_abs;             ///< no value of the base is larger in magnitude; 0: not known
    size_t payload_bytes;      ///< size of the values or codes; 0: reached by `trlm_adapt_access`
    size_t scale_bytes;        ///< size of the scales; 0 for f32
    void* payload;             ///< f32 values (4-aligned) or codes in the engine's memory
    void* scales;              ///< f32 scales (4-aligned) in the engine's memory; NULL for f32
    const void* file_payload;  ///< the same in the file; an engine's is not looked at
    const void* file_scales;   ///< likewise; NULL for f32
} trlm_adapt_tensor;

/// How a file is read. NULL in its place means all 0.
typedef struct trlm_adapt_read_options {
    size_t size;                       ///< of this struct; nothing is required
    const char* file;                  ///< its name in findings, copied; may be NULL
    uint32_t accept_foreign_checksum;  ///< 1: a model's `checksum_unverifiable` is but a warning
    uint32_t reserved;                 ///< 0
} trlm_adapt_read_options;

/// What a model's header says of the network. docs/formats.md, section 1
typedef struct trlm_adapt_model_info {
    size_t size;                   ///< of this struct
    const void* tokenizer;         ///< the tokenizer section, in the caller's bytes
    size_t tokenizer_bytes;        ///< its size
    uint64_t checksum;             ///< of the file, as the header states it
    uint32_t tensor_count;         ///< for `trlm_adapt_model_tensor`
    uint32_t vocab_size;           ///< tokens
    uint32_t special_token_count;  ///< of which the first ones are special
    uint32_t hidden_size;          ///< elements of a hidden state
    uint32_t layer_count;          ///< transformer layers
    uint32_t head_count;           ///< query heads
    uint32_t kv_head_count;        ///< key and value heads
    uint32_t head_dim;             ///< elements of a head
    uint32_t ffn_size;             ///< elements between the matrices of a feed-forward block
    uint32_t max_context;          ///< tokens
    float rope_theta;              ///< base of the rotations' wavelengths
    float rms_norm_epsilon;        ///< added to the mean square
} trlm_adapt_model_info;

/// Reads and checks a whole SLM1 file of `byte_count` bytes, which must stay until the model is
/// freed. Statuses: `TRLM_ADAPT_INVALID`, `TRLM_ADAPT_DRIFT`, `TRLM_ADAPT_CANNOT_CHECK`; every
/// defect is reported. O(bytes).
trlm_adapt_status trlm_adapt_model_read(const void* bytes, size_t byte_count,
                                        const trlm_adapt_read_options* options,
                                        trlm_adapt_model** model, trlm_adapt_findings** findings);

/// The model's identity.
trlm_adapt_status trlm_adapt_model_identity(const trlm_adapt_model* model,
                                            trlm_adapt_identity* identity);

/// The model's header.
trlm_adapt_status trlm_adapt_model_get(const trlm_adapt_model* model, trlm_adapt_model_info* info);

/// Tensor `index`, in file order, with where it lies in the file; `payload` and `scales` become
/// NULL. Its name lives as long as the model. `TRLM_ADAPT_USAGE` past the end.
trlm_adapt_status trlm_adapt_model_tensor(const trlm_adapt_model* model, size_t index,
                                          trlm_adapt_tensor* tensor);

/// Frees the model, not its bytes.
void trlm_adapt_model_free(trlm_adapt_model* model);

/// The kinds of packages. docs/formats.md, section 3
enum {
    TRLM_ADAPT_DENSE = 0,    ///< ADP1: a value for each element
    TRLM_ADAPT_SPARSE = 1,   ///< ASP1: some elements' values
    TRLM_ADAPT_LOW_RANK = 2  ///< ALR1: scale * B * A
};

/// What a package's header says.
typedef struct trlm_adapt_package_info {
    size_t size;            ///< of this struct
    const char* metadata;   ///< JSON in the caller's bytes, not ended by a 0; NULL without any
    size_t metadata_bytes;  ///< its size
    uint64_t checksum;      ///< of the file, which goes into the assembly state
    uint32_t kind;          ///< `TRLM_ADAPT_DENSE`, `TRLM_ADAPT_SPARSE` or `TRLM_ADAPT_LOW_RANK`
    uint32_t entry_count;   ///< for `trlm_adapt_package_entry`
} trlm_adapt_package_info;

/// One tensor's delta in a package.
typedef struct trlm_adapt_entry {
    size_t size;         ///< of this struct
    const char* name;    ///< from the metadata; empty when it is not there
    uint64_t name_hash;  ///< FNV-1a 64 of the tensor's name
    uint64_t count;      ///< ASP1: number of elements that are stored; else 0
    uint32_t rank;       ///< number of dimensions of the tensor
    uint32_t dims[4];    ///< unused ones are 1
    uint32_t low_rank;   ///< ALR1: columns of B and rows of A; else 0
    float scale;         ///< ALR1: of the product; else 0
    uint32_t reserved;   ///< 0
} trlm_adapt_entry;

/// Reads and checks a whole package of any kind; the kind is told by its first bytes. The bytes
/// must stay until the package and every plan that was made with it are freed. Statuses as
/// `trlm_adapt_model_read`. O(bytes).
trlm_adapt_status trlm_adapt_package_read(const void* bytes, size_t byte_count,
                                          const trlm_adapt_read_options* options,
                                          trlm_adapt_package** package,
                                          trlm_adapt_findings** findings);

/// The identity of the models that the package fits.
trlm_adapt_status trlm_adapt_package_identity(const trlm_adapt_package* package,
                                              trlm_adapt_identity* identity);

/// The package's header.
trlm_adapt_status trlm_adapt_package_get(const trlm_adapt_package* package,
                                         trlm_adapt_package_info* info);

/// Entry `index`, in file order. Its name lives as long as the package. `TRLM_ADAPT_USAGE` past
/// the end.
trlm_adapt_status trlm_adapt_package_entry(const trlm_adapt_package* package, size_t index,
                                           trlm_adapt_entry* entry);

/// Frees the package, not its bytes.
void trlm_adapt_package_free(trlm_adapt_package* package);

// -------------------------------------------------------------------------------------- engines

/// How tensors are reached that the engine cannot lend as memory: on another device, or laid out
/// in another way. Both are called from the executor's threads, for different rows at once, and
/// return 0 when they cannot. All members have to be given.
typedef struct trlm_adapt_access {
    size_t size;  ///< of this struct
    /// Copies whole rows of tensor `tensor` of the description into `payload` and `scales`, in the
    /// storage of SLM1. A row has as many elements as the last dimension says.
    int (*read)(void* context, size_t tensor, uint64_t first_row, uint64_t rows, void* payload,
                size_t payload_bytes, void* scales, size_t scale_bytes);
    /// Replaces the rows by these bytes. Called only between the quiescence's `begin` and `end`.
    /// After one that fails, what lay there is written back; where that fails too, the finding says
    /// that the model has to be loaded anew.
    int (*write)(void* context, size_t tensor, uint64_t first_row, uint64_t rows,
                 const void* payload, size_t payload_bytes, const void* scales, size_t scale_bytes);
    void* context;  ///< handed to both
} trlm_adapt_access;

/// Where larger pieces of memory come from: the bytes of the base that are kept, and what planning
/// and applying work with. The objects of this interface are on the program's heap. All members
/// have to be given.
typedef struct trlm_adapt_allocator {
    size_t size;  ///< of this struct
    /// At least `bytes` bytes aligned to `alignment`, a power of two; NULL when there are none
    /// left. Called from the threads that call the library.
    void* (*allocate)(void* context, size_t bytes, size_t alignment);
    /// Takes back what `allocate` gave for the same size and alignment.
    void (*release)(void* context, void* memory, size_t bytes, size_t alignment);
    void* context;  ///< handed to both
} trlm_adapt_allocator;

/// What the engine does around the moment in which its weights change. Everything is checked and
/// all memory is at hand before `begin`. All members have to be given.
typedef struct trlm_adapt_quiescence {
    size_t size;  ///< of this struct
    /// Waits until no thread reads the weights, and keeps it so; 0: not now, and nothing changes.
    int (*begin)(void* context);
    /// Readers may go on. What was computed with the old weights, such as a KV cache, is to be
    /// dropped. Called exactly once after each `begin` that did not return 0.
    void (*end)(void* context);
    void* context;  ///< handed to both
} trlm_adapt_quiescence;

/// An engine's own threads. All members have to be given.
typedef struct trlm_adapt_executor {
    size_t size;  ///< of this struct
    /// Calls task(task_context, 0) .. task(task_context, count - 1), each exactly once, on any
    /// threads and in any order, and returns when all have returned.
    void (*parallel_for)(void* context, size_t count, void (*task)(void* task_context, size_t i),
                         void* task_context);
    void* context;       ///< handed to it
    size_t concurrency;  ///< how many tasks run at once; memory is taken for as many
} trlm_adapt_executor;

/// An engine: a model in memory, and what is lent for changing it.
typedef struct trlm_adapt_engine_description {
    size_t size;                              ///< of this struct; required up to `tensor_count`
    const trlm_adapt_identity* identity;      ///< of the model; as the file has it that was loaded
    const trlm_adapt_tensor* tensors;         ///< all tensors of the model, in any order
    size_t tensor_count;                      ///< number of `tensors`
    const trlm_adapt_access* access;          ///< for tensors without memory; may be NULL
    const trlm_adapt_allocator* allocator;    ///< NULL: the program's heap
    const trlm_adapt_quiescence* quiescence;  ///< NULL: nobody else uses the weights meanwhile
    const trlm_adapt_executor* executor;      ///< NULL: see `threads`
    /// Without an executor: how many threads work, the calling one included. 0 is 1, and more than
    /// there are processors are as many as these.
    uint32_t threads;
    uint32_t discard_base;  ///< 1: no copy of the base is kept, and nothing can be undone
} trlm_adapt_engine_description;

/// Copies the description, not the memory that its tensors, its functions and their contexts lead
/// to. Whether it is right is checked when a stack is planned. O(tensors).
trlm_adapt_status trlm_adapt_engine_describe(const trlm_adapt_engine_description* description,
                                             trlm_adapt_engine** engine,
                                             trlm_adapt_findings** findings);

/// Frees the engine's description. Its memory stays as it is.
void trlm_adapt_engine_free(trlm_adapt_engine* engine);

// --------------------------------------------------------------------------- plan, apply, undo

/// One adapter of a stack.
typedef struct trlm_adapt_member {
    size_t size;                        ///< of this struct; all members have to be given
    const trlm_adapt_package* package;  ///< may be freed after planning, but not its bytes
    float strength;                     ///< neither 0 nor infinite nor NaN; 1: as it was trained
    uint32_t reserved;                  ///< 0
} trlm_adapt_member;

/// Checks the engine's description and that `members`, in the order in which their deltas are
/// added, fit it. Reads no weight and changes nothing: it may run while the engine works.
/// `TRLM_ADAPT_INVALID`: `bad_view`, for a description that is wrong (sizes, alignment, NULL,
/// overlaps, an identity that is not that of the tensors); `TRLM_ADAPT_INCOMPATIBLE`: a package
/// for another model; `TRLM_ADAPT_USAGE`: no member, or a strength that is none.
/// O(tensors log n + entries log n).
trlm_adapt_status trlm_adapt_plan_stack(const trlm_adapt_engine* engine,
                                        const trlm_adapt_member* members, size_t member_count,
                                        trlm_adapt_plan** plan, trlm_adapt_findings** findings);

/// Frees the plan. What was applied with it stays.
void trlm_adapt_plan_free(trlm_adapt_plan* plan);

/// How new values of quantized tensors are rounded. docs/formats.md, section 4
enum {
    TRLM_ADAPT_ADAPTIVE = 0,   ///< stochastic where a change is small, nearest elsewhere
    TRLM_ADAPT_NEAREST = 1,    ///< drops changes below half a step
    TRLM_ADAPT_STOCHASTIC = 2  ///< keeps small changes on average
};

/// How a stack is applied. NULL in its place means all 0.
typedef struct trlm_adapt_apply_options {
    size_t size;                ///< of this struct; nothing is required
    uint64_t seed;              ///< of the rounding's random numbers
    uint32_t rounding;          ///< `TRLM_ADAPT_ADAPTIVE`, `_NEAREST` or `_STOCHASTIC`
    uint32_t survival;          ///< 1: measure how much of the change arrived
    uint32_t allow_no_effect;   ///< 1: `zero_effect` is but a warning
    uint32_t has_min_survival;  ///< 1: `min_survival` counts; implies `survival`
    double min_survival;        ///< `survival_below_threshold` where less than this share arrived
    /// Called from the calling thread before anything changes, with how many of the checks' steps
    /// are done; 0 cancels (`TRLM_ADAPT_CANNOT_CHECK`). May be NULL.
    int (*progress)(void* context, uint64_t done, uint64_t total);
    void* progress_context;  ///< handed to it
} trlm_adapt_apply_options;

/// Applies the plan in place. Every new value is checked before the first byte changes: on any
/// failure the memory is as it was. The engine may read its weights until the quiescence's `begin`.
/// `TRLM_ADAPT_INCOMPATIBLE`: a value that would not be finite; `TRLM_ADAPT_POLICY`: no effect, or
/// too little survival; `TRLM_ADAPT_CANNOT_CHECK`: no memory, cancelled, or a callback that failed;
/// `TRLM_ADAPT_USAGE`: an option that does not exist. The packages' bytes are not needed any more
/// once the plan is freed. O(elements of the tensors that the stack names * stack).
trlm_adapt_status trlm_adapt_apply(const trlm_adapt_plan* plan,
                                   const trlm_adapt_apply_options* options,
                                   trlm_adapt_applied** applied, trlm_adapt_findings** findings);

/// Puts back the base's bytes, each as it was. `TRLM_ADAPT_DRIFT` (`undo_stale`) when there is
/// nothing to undo, when a weight was changed since by somebody else, or when the base was not
/// kept; `TRLM_ADAPT_CANNOT_CHECK` as `trlm_adapt_apply`. On failure nothing has changed.
/// O(bytes of the tensors that the stack names).
trlm_adapt_status trlm_adapt_undo(trlm_adapt_applied* applied, trlm_adapt_findings** findings);

/// The stack that is applied out, that of `next` in, as one transaction: the weights become what
/// `next` makes of the base. `next` is a plan for the same memory; `TRLM_ADAPT_INVALID`
/// (`bad_view`) for any other. Statuses otherwise as `trlm_adapt_apply` and `trlm_adapt_undo`. On
/// failure the stack that was applied still is. After an undo it applies `next`.
trlm_adapt_status trlm_adapt_swap(trlm_adapt_applied* applied, const trlm_adapt_plan* next,
                                  const trlm_adapt_apply_options* options,
                                  trlm_adapt_findings** findings);

/// What is in the engine's memory.
typedef struct trlm_adapt_report {
    size_t size;            ///< of this struct
    uint64_t state;         ///< assembly state of the weights now; docs/formats.md, section 2
    uint64_t kept_bytes;    ///< bytes of the base that are kept for the way back
    double kept;            ///< share of the last stack's change that arrived, where `has_kept`
    uint32_t has_kept;      ///< 0 or 1: whether survival was measured
    uint32_t is_applied;    ///< 0 or 1; 0 after an undo: the weights are the base's
    uint32_t zero_effect;   ///< 0 or 1: the last stack changed no stored byte
    uint32_t tensor_count;  ///< for `trlm_adapt_applied_tensor`; 0 where survival was not measured
} trlm_adapt_report;

/// The state of what was applied, undone or swapped.
trlm_adapt_status trlm_adapt_applied_get(const trlm_adapt_applied* applied,
                                         trlm_adapt_report* report);

/// How much of the change arrived in one tensor: intended is the change before rounding, effective
/// the one after it. docs/formats.md, section 4
typedef struct trlm_adapt_survival {
    size_t size;           ///< of this struct
    const char* name;      ///< of the tensor; lives until a swap or the end of what is applied
    uint64_t elements;     ///< of the tensor
    uint64_t touched;      ///< elements that were to change
    uint64_t changed;      ///< elements that did
    double max_abs_delta;  ///< largest magnitude of an intended change
    double rms_delta;      ///< root of the mean square of the intended change
    double kept;           ///< <intended, effective> / |intended|^2
    double cosine;         ///< <intended, effective> / (|intended| |effective|)
    double snr_db;         ///< 10 log10(|intended|^2 / |difference|^2), where `has_snr_db`
    uint32_t has_snr_db;   ///< 0 or 1; 0 where one of the two is 0
    uint32_t reserved;     ///< 0
} trlm_adapt_survival;

/// Survival of tensor `index` of the stack. `TRLM_ADAPT_USAGE` past the end.
trlm_adapt_status trlm_adapt_applied_tensor(const trlm_adapt_applied* applied, size_t index,
                                            trlm_adapt_survival* survival);

/// Frees what it takes to undo. The weights stay as they are.
void trlm_adapt_applied_free(trlm_adapt_applied* applied);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
