#pragma once
// The recipe of a bundle, field by field, like the documents in receipt/descriptions.hpp.

#include "receipt/descriptions.hpp"
#include "trlm/adapt/bundle.hpp"

namespace trlm::adapt {

template <class Fields>
void describe(Fields& fields, RecipeAdapter& adapter) {
    using namespace document;
    fields("id", adapter.id, Text{});
    fields("package", adapter.package, Text{});
    fields("strength_range", adapter.strength_range, Optional{RangeRule{}});
    fields("license", adapter.license, Optional{OrNull{Text{}}});
    fields("source", adapter.source, Optional{OrNull{Text{}}});
}

template <class Fields>
void describe(Fields& fields, RecipeStack& stack) {
    using namespace document;
    fields("id", stack.id, Text{});
    fields("preferred", stack.preferred, Optional{Boolean{}});
    fields("rounding", stack.rounding, Optional{RoundingRule{}});
    fields("order", stack.order, Each<Object<OrderedMember>>{{}, 1, limits::stack_members});
}

template <class Fields>
void describe(Fields& fields, RecipeEval& eval) {
    fields("cases", eval.cases, document::Integer{});
    fields("failures", eval.failures, document::Integer{});
    fields("body", eval.body, document::Optional{document::Anything{}});
}

template <class Fields>
void describe(Fields& fields, RecipeAdmission& admission) {
    fields("status", admission.status, document::Text{});
    fields("body", admission.body, document::Optional{document::Anything{}});
}

template <class Fields>
void describe(Fields& fields, RecipeEvidence& evidence) {
    using namespace document;
    constexpr Optional body{Anything{}};
    fields("review", evidence.review, body);
    fields("recipe", evidence.recipe, body);
    fields("operator", evidence.operator_file, body);
    fields("candidate", evidence.candidate, body);
    fields("promotion", evidence.promotion, body);
    fields("runtime", evidence.runtime, body);
    fields("eval", evidence.eval, Object<RecipeEval>{});
    fields("admission", evidence.admission, Object<RecipeAdmission>{});
    fields("eval_cases", evidence.eval_cases, body);
}

template <class Fields>
void describe(Fields& fields, RecipeEvent& event) {
    using namespace document;
    fields("event", event.event, Text{});
    fields("subject", event.subject, Optional{OrNull{content_digest}});
}

template <class Fields>
void describe(Fields& fields, RecipeBudgets& budgets) {
    using namespace document;
    fields("model_bytes", budgets.parts.model_bytes, Optional{Integer{}});
    fields("text_sidecar_bytes", budgets.parts.text_sidecar_bytes, Optional{Integer{}});
    fields("adapter_stack_bytes", budgets.parts.adapter_stack_bytes, Optional{Integer{}});
    fields("fetch_count", budgets.parts.fetch_count, Optional{Integer{}});
    fields("total_bytes", budgets.total_bytes, Optional{OrNull{Integer{}}});
}

template <class Fields>
void describe(Fields& fields, BundleRecipe& recipe) {
    using namespace document;
    fields("id", recipe.id, Text{});
    fields("model", recipe.model, Text{});
    fields("strategy", recipe.strategy, Optional{strategies});
    fields("profile", recipe.profile, Optional{profiles});
    fields("execution_profile", recipe.execution_profile, Optional{execution_profiles});
    fields("fetch_policy", recipe.fetch_policy, Optional{fetch_policies});
    fields("budgets", recipe.budgets, Optional{Object<RecipeBudgets>{}});
    fields("source_kind", recipe.source_kind, Optional{Text{}});
    fields("quality_claim", recipe.quality_claim, Optional{ClaimRule{}});
    fields("trained_quality_claim", recipe.trained_quality_claim, Optional{ClaimRule{}});
    fields("license", recipe.license, Optional{OrNull{Text{}}});
    fields("adapters", recipe.adapters, Optional{Each<Object<RecipeAdapter>>{}});
    fields("stacks", recipe.stacks, Optional{Each<Object<RecipeStack>>{}});
    fields("evidence", recipe.evidence, Object<RecipeEvidence>{});
    fields("ledger", recipe.ledger, Each<Object<RecipeEvent>>{{}, 1});
}

}  // namespace trlm::adapt
