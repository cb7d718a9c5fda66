#pragma once
/// \namespace trlm
/// What has to do with TinyRustLM's files.

/// \namespace trlm::adapt
/// Validates adapter packages and applies stacks of them to SLM1 models.
///
///     auto file  = MappedFile::open("model.slm");
///     auto model = read_model(file->bytes());
///     auto plan  = plan_apply(*model, stack);
///     auto done  = apply_to_file(*plan, "adapted.slm", /*replace=*/false);
///
/// Every call returns a Result: a value, or all findings. Nothing is printed, thrown or aborted.

#include "trlm/adapt/apply.hpp"
#include "trlm/adapt/bundle.hpp"
#include "trlm/adapt/chain.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/chosen_stack.hpp"
#include "trlm/adapt/core.hpp"
#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/executor.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/finding.hpp"
#include "trlm/adapt/identity.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/memory.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/package_file.hpp"
#include "trlm/adapt/plan.hpp"
#include "trlm/adapt/produce/checkpoint.hpp"
#include "trlm/adapt/produce/compose.hpp"
#include "trlm/adapt/produce/convert.hpp"
#include "trlm/adapt/produce/difference.hpp"
#include "trlm/adapt/produce/forecast.hpp"
#include "trlm/adapt/produce/lora.hpp"
#include "trlm/adapt/produce/merge.hpp"
#include "trlm/adapt/produce/safetensors.hpp"
#include "trlm/adapt/produce/tokenizer_import.hpp"
#include "trlm/adapt/receipt/apply_receipt.hpp"
#include "trlm/adapt/receipt/assembly.hpp"
#include "trlm/adapt/receipt/evidence.hpp"
#include "trlm/adapt/receipt/ledger.hpp"
#include "trlm/adapt/replay.hpp"
#include "trlm/adapt/result.hpp"
#include "trlm/adapt/rounding.hpp"
#include "trlm/adapt/simd.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/source.hpp"
#include "trlm/adapt/stack.hpp"
#include "trlm/adapt/statistics.hpp"
#include "trlm/adapt/survival.hpp"
#include "trlm/adapt/tensor.hpp"
#include "trlm/adapt/tokenizer.hpp"
