/*
 * test_import_model.c
 *		Whole directories: what is refused and by which words, what is read
 *		from which file, and that nothing leaks on any way out.
 */
#include "model_util.h"

/* A change to the small model, and what the import must say. */
typedef struct Case
{
	const char *what;
	void		(*change) (SmallModel *m);
	EmbStatus	status;
	const char *message;		/* part of the message; NULL for none */
	const char *also;			/* another part */
} Case;

#define CHANGE(name, body) static void name(SmallModel *m) { body }
#define CONFIG(more) \
	"{\"hidden_size\": 8, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"intermediate_size\": 20," \
	" \"vocab_size\": 24, \"max_position_embeddings\": 16, " more "}"
#define BERT "\"model_type\": \"bert\""
#define MODULE(path, type) "{\"idx\": 0, \"name\": \"0\", \"path\": \"" path "\", \"type\": \"" type "\"}"
#define ST "sentence_transformers.models."

CHANGE(as_it_is, (void) m;)
CHANGE(no_config, m->config = NULL;)
CHANGE(config_not_json, m->config = "{\"model_type\": ";)
CHANGE(config_a_list, m->config = "[]";)
CHANGE(config_nul, m->config = CONFIG(BERT ", \"x\": \"\\u0000\"");)
CHANGE(config_deep, static char deep[8192]; memset(deep, '[', 8191); m->config = deep;)
CHANGE(no_type, m->config = CONFIG("\"hidden_act\": \"gelu\"");)
CHANGE(bloom, m->config = CONFIG("\"model_type\": \"bloom\"");)
#define DEBERTA(more) CONFIG("\"model_type\": \"deberta-v2\", \"layer_norm_eps\": 1e-7" more)
#define DEBERTA_ON	", \"relative_attention\": true, \"share_att_key\": true"
#define DEBERTA_KINDS	", \"pos_att_type\": \"p2c|c2p\""
#define DEBERTA_PLAIN	", \"position_biased_input\": false"
CHANGE(deberta_v1, m->config = CONFIG("\"model_type\": \"deberta\"");)
CHANGE(deberta_absolute, m->config = DEBERTA("");)
CHANGE(deberta_shared, m->config = DEBERTA(", \"relative_attention\": true");)
CHANGE(deberta_kinds, m->config = DEBERTA(DEBERTA_ON ", \"pos_att_type\": [\"c2p\"]");)
CHANGE(deberta_biased, m->config = DEBERTA(DEBERTA_ON DEBERTA_KINDS);)
CHANGE(deberta_conv, m->config = DEBERTA(DEBERTA_ON DEBERTA_KINDS DEBERTA_PLAIN ", \"conv_kernel_size\": 3");)
CHANGE(deberta_types, m->config = DEBERTA(DEBERTA_ON DEBERTA_KINDS DEBERTA_PLAIN ", \"type_vocab_size\": 2");)
CHANGE(deberta_norm, m->config = DEBERTA(DEBERTA_ON DEBERTA_KINDS DEBERTA_PLAIN ", \"norm_rel_ebd\": \"rms\"");)
CHANGE(deberta_buckets, m->config = DEBERTA(DEBERTA_ON DEBERTA_KINDS DEBERTA_PLAIN ", \"position_buckets\": 100000");)
CHANGE(deberta_few, m->config = DEBERTA(DEBERTA_ON DEBERTA_KINDS DEBERTA_PLAIN ", \"position_buckets\": 256, \"max_relative_positions\": 100");)
CHANGE(type_number, m->config = CONFIG("\"model_type\": 5");)
CHANGE(token_classifier, m->modules = NULL; m->config = CONFIG(BERT ", \"architectures\": [\"BertForTokenClassification\"]");)
#define RERANKER(more) *m = small_reranker(); m->config = SMALL_RERANKER_CONFIG(more)
#define ONE_LABEL "\"id2label\": {\"0\": \"x\"}"
CHANGE(reranker, *m = small_reranker();)
CHANGE(one_label_by_number, RERANKER("\"num_labels\": 1");)
CHANGE(default_labels, RERANKER("\"hidden_act\": \"gelu\"");)
CHANGE(two_labels, RERANKER("\"id2label\": {\"0\": \"no\", \"1\": \"yes\"}, \"num_labels\": 1");)
CHANGE(labels_list, RERANKER("\"id2label\": [1]");)
CHANGE(no_classifier, *m = small_reranker(); m->omit = "classifier.weight";)
CHANGE(no_pooler, *m = small_reranker(); m->omit = "pooler.dense.bias";)
CHANGE(nan_classifier, *m = small_reranker(); m->nan = "classifier.weight";)
CHANGE(no_prefix, *m = small_reranker(); m->prefix = "";)
CHANGE(wrapped, *m = small_reranker(); m->prefix = "model.bert."; m->head_prefix = "model.";)
CHANGE(two_classifiers, *m = small_reranker(); m->head_prefix = "a."; m->extra = ", \"b.classifier.weight\":"
	   " {\"dtype\": \"F32\", \"shape\": [0, 8], \"data_offsets\": [0, 0]}";)
CHANGE(identity, RERANKER(ONE_LABEL ", \"sentence_transformers\": {\"activation_fn\": \"torch.nn.modules.linear.Identity\"}");)
CHANGE(old_sigmoid, RERANKER(ONE_LABEL ", \"sbert_ce_default_activation_function\": \"torch.nn.modules.activation.Sigmoid\"");)
CHANGE(tanh_score, RERANKER(ONE_LABEL ", \"sentence_transformers\": {\"activation_fn\": \"torch.nn.modules.activation.Tanh\"}");)
CHANGE(own_score, RERANKER(ONE_LABEL ", \"sentence_transformers\": {\"activation_fn\": \"my.code.Sigmoid\"}");)
CHANGE(encoder_score, *m = small_reranker(); m->prompts = "{\"activation_fn\": \"torch.nn.modules.activation.ReLU\"}";)
CHANGE(encoder_prompt, *m = small_reranker(); m->prompts = "{\"prompts\": {\"q\": \"a\"}, \"default_prompt_name\": \"q\"}";)
CHANGE(encoder_prompts, *m = small_reranker(); m->prompts = "{\"prompts\": {\"query\": \"a\"}, \"activation_fn\": \"torch.nn.modules.linear.Identity\"}";)
CHANGE(encoder_module, *m = small_reranker(); m->modules = "[" MODULE("", ST "Transformer") "]";)
CHANGE(pooled_reranker, *m = small_reranker(); m->modules = SMALL_MODULES; m->pooling = "{}"; m->prompts = "{\"model_type\": \"CrossEncoder\"}";)
CHANGE(embedding_module, m->modules = "[" MODULE("", ST "Transformer") "]";)
CHANGE(one_type, RERANKER(ONE_LABEL ", \"type_vocab_size\": 1");)
CHANGE(length_three, *m = small_reranker(); m->sentence_bert = "{\"max_seq_length\": 3}";)
CHANGE(xlmr_class, m->config = CONFIG(BERT ", \"architectures\": [\"XLMRobertaModel\"]");)
CHANGE(masked_lm, m->config = CONFIG(BERT ", \"architectures\": [\"BertForMaskedLM\"]"); m->prefix = "bert.";)
CHANGE(no_architectures, m->config = CONFIG(BERT);)
#define ROBERTA "\"model_type\": \"roberta\""
#define ROBERTA_HEAD "\"architectures\": [\"RobertaForSequenceClassification\"], \"id2label\": {\"0\": \"x\"}"
CHANGE(roberta, m->config = CONFIG(ROBERTA);)
CHANGE(xlm_roberta, m->config = CONFIG("\"model_type\": \"xlm-roberta\", \"pad_token_id\": 3"); m->prefix = "roberta.";)
CHANGE(roberta_of_bert, m->config = CONFIG(ROBERTA ", \"architectures\": [\"BertModel\"]");)
CHANGE(bert_of_roberta, m->config = CONFIG(BERT ", \"architectures\": [\"RobertaModel\"]");)
CHANGE(pad_last, m->config = CONFIG(ROBERTA ", \"pad_token_id\": 15");)
CHANGE(pad_beyond, m->config = CONFIG(ROBERTA ", \"pad_token_id\": 24");)
CHANGE(pad_negative, m->config = CONFIG(ROBERTA ", \"pad_token_id\": -1");)
CHANGE(roberta_positions, m->config = "{" ROBERTA ", \"hidden_size\": 8, \"num_hidden_layers\": 2, \"num_attention_heads\": 2,"
	   " \"intermediate_size\": 20, \"vocab_size\": 24, \"max_position_embeddings\": 17}";)
CHANGE(roberta_head, *m = small_reranker(); m->config = CONFIG(ROBERTA ", " ROBERTA_HEAD);)
CHANGE(distilbert_class, m->modules = NULL; m->config = "{\"model_type\": \"distilbert\", \"architectures\": [\"DistilBertForTokenClassification\"]}";)
CHANGE(distilbert_names, m->config = "{\"model_type\": \"distilbert\", \"dim\": 8, \"n_layers\": 2, \"n_heads\": 2, \"hidden_dim\": 20,"
	   " \"vocab_size\": 24, \"max_position_embeddings\": 16}";)
CHANGE(distilbert_heads, m->config = "{\"model_type\": \"distilbert\", \"dim\": 8, \"n_heads\": 3}";)
#define MPNET "\"model_type\": \"mpnet\""
CHANGE(mpnet_buckets, m->config = CONFIG(MPNET ", \"relative_attention_num_buckets\": 64");)
CHANGE(mpnet_padding, m->config = CONFIG(MPNET ", \"pad_token_id\": 0");)
CHANGE(mpnet_names, m->config = CONFIG(MPNET);)
#define NOMIC(more) m->config = "{\"model_type\": \"nomic_bert\", \"n_embd\": 8, \"n_layer\": 2, \"n_head\": 2, \"n_inner\": 20," \
	" \"vocab_size\": 24, \"n_positions\": 16, \"activation_function\": \"swiglu\", \"qkv_proj_bias\": false, \"mlp_fc1_bias\": false," \
	" \"mlp_fc2_bias\": false" more "}"
CHANGE(nomic_names, NOMIC(", \"rotary_emb_fraction\": 1.0");)
CHANGE(nomic_no_fraction, NOMIC("");)
CHANGE(nomic_half, NOMIC(", \"rotary_emb_fraction\": 0.5");)
CHANGE(nomic_prenorm, NOMIC(", \"rotary_emb_fraction\": 1, \"prenorm\": true");)
CHANGE(nomic_experts, NOMIC(", \"rotary_emb_fraction\": 1, \"num_experts\": 8");)
#define NOMIC_PLAIN(more) m->config = "{\"model_type\": \"nomic_bert\", \"n_embd\": 8, \"n_layer\": 2, \"n_head\": 2, \"n_inner\": 20," \
	" \"vocab_size\": 24, \"n_positions\": 16, \"rotary_emb_fraction\": 1, \"qkv_proj_bias\": true, \"mlp_fc1_bias\": true," \
	" \"mlp_fc2_bias\": true, " more "}"
#define EXPERTS "\"activation_function\": \"gelu\", \"num_experts\": 4, \"moe_every_n_layers\": 2, \"moe_top_k\": "
CHANGE(experts_names, NOMIC_PLAIN(EXPERTS "2");)
CHANGE(experts_many, NOMIC_PLAIN("\"activation_function\": \"gelu\", \"num_experts\": 65, \"moe_every_n_layers\": 2, \"moe_top_k\": 2");)
CHANGE(experts_top, NOMIC_PLAIN(EXPERTS "5");)
CHANGE(experts_no_top, NOMIC_PLAIN("\"activation_function\": \"gelu\", \"num_experts\": 4, \"moe_every_n_layers\": 2");)
CHANGE(experts_shared, NOMIC_PLAIN(EXPERTS "2, \"num_shared_experts\": 1");)
CHANGE(experts_choice, NOMIC_PLAIN(EXPERTS "2, \"expert_choice_router\": true");)
CHANGE(experts_normalized, NOMIC_PLAIN(EXPERTS "2, \"moe_normalize_expert_weights\": true");)
CHANGE(experts_tanh, NOMIC_PLAIN("\"activation_function\": \"gelu_new\", \"num_experts\": 4, \"moe_every_n_layers\": 2, \"moe_top_k\": 2");)
CHANGE(experts_relu, NOMIC_PLAIN("\"activation_function\": \"relu\", \"num_experts\": 4, \"moe_every_n_layers\": 2, \"moe_top_k\": 2");)
CHANGE(experts_no_activation, NOMIC_PLAIN("\"activation_function\": null, \"num_experts\": 4, \"moe_every_n_layers\": 2, \"moe_top_k\": 2");)
CHANGE(experts_twice, NOMIC_PLAIN(EXPERTS "2, \"num_local_experts\": 8");)
CHANGE(plain_bias, m->config = "{\"model_type\": \"nomic_bert\", \"n_embd\": 8, \"n_head\": 2, \"activation_function\": \"gelu\"}";)
CHANGE(nomic_scaled, NOMIC(", \"rotary_emb_fraction\": 1, \"rotary_scaling_factor\": 2.0");)
CHANGE(nomic_base, NOMIC(", \"rotary_emb_fraction\": 1, \"rotary_emb_base\": 0");)
CHANGE(nomic_biases, m->config = "{\"model_type\": \"nomic_bert\", \"n_embd\": 8, \"n_head\": 2}";)
CHANGE(nomic_relu, m->config = CONFIG("\"model_type\": \"nomic_bert\", \"hidden_act\": \"mish\"");)
CHANGE(odd_heads, m->config = "{\"model_type\": \"gte\", \"hidden_size\": 9, \"num_attention_heads\": 3}";)
CHANGE(gte_absolute, m->config = CONFIG("\"model_type\": \"new\", \"position_embedding_type\": \"absolute\"");)
CHANGE(gte_linear, m->config = CONFIG("\"model_type\": \"new\", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}");)
CHANGE(gte_factor, m->config = CONFIG("\"model_type\": \"new\", \"rope_scaling\": {\"type\": \"ntk\", \"factor\": 1e30}");)
CHANGE(gte_norm, m->config = CONFIG("\"model_type\": \"new\", \"layer_norm_type\": \"rms_norm\"");)
CHANGE(gte_rope, m->config = CONFIG("\"model_type\": \"gte\", \"rope_parameters\": {\"rope_type\": \"yarn\"}");)
CHANGE(gte_head, m->modules = NULL; m->config = CONFIG("\"model_type\": \"new\", \"architectures\": [\"NewForTokenClassification\"]");)
#define MODERN "\"model_type\": \"modernbert\""
#define MODERN_HEAD MODERN ", \"architectures\": [\"ModernBertForSequenceClassification\"], \"id2label\": {\"0\": \"x\"}"
CHANGE(modern_pooling, m->modules = NULL; m->config = CONFIG(MODERN_HEAD ", \"classifier_pooling\": \"max\"");)
CHANGE(modern_activation, m->modules = NULL; m->config = CONFIG(MODERN_HEAD ", \"classifier_activation\": \"silu\"");)
CHANGE(modern_head_bias, m->modules = NULL; m->config = CONFIG(MODERN_HEAD ", \"classifier_bias\": 1");)
CHANGE(modern_labels, m->modules = NULL; m->config = CONFIG(MODERN ", \"num_labels\": 3, \"architectures\": [\"ModernBertForSequenceClassification\"]");)
CHANGE(modern_names, m->config = CONFIG(MODERN ", \"position_embedding_type\": \"absolute\"");)
#define GEMMA "\"model_type\": \"gemma3_text\", \"head_dim\": 4, \"num_key_value_heads\": 1"
CHANGE(gemma_sizes, m->config = CONFIG("\"model_type\": \"gemma3_text\", \"head_dim\": 4");)
CHANGE(gemma_softcap, m->config = CONFIG(GEMMA ", \"attn_logit_softcapping\": 50.0");)
CHANGE(gemma_bias, m->config = CONFIG(GEMMA ", \"attention_bias\": true");)
CHANGE(gemma_types, m->config = CONFIG(GEMMA ", \"layer_types\": [\"chunked_attention\", \"full_attention\"]");)
CHANGE(gemma_few, m->config = CONFIG(GEMMA ", \"layer_types\": [\"full_attention\"]");)
CHANGE(gemma_width, m->config = CONFIG(GEMMA ", \"sliding_window\": 1");)
CHANGE(gemma_rope, m->config = CONFIG(GEMMA ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8}");)
CHANGE(gemma_reranker, m->modules = NULL; m->config = CONFIG(GEMMA ", \"architectures\": [\"Gemma3TextForSequenceClassification\"], \"id2label\": {\"0\": \"x\"}");)
CHANGE(gemma_images, m->config = CONFIG(GEMMA ", \"architectures\": [\"Gemma3ForConditionalGeneration\"]");)
#define EURO_HEAD "\"model_type\": \"eurobert\", \"architectures\": [\"EuroBertForSequenceClassification\"], \"id2label\": {\"0\": \"x\"}"
CHANGE(euro_late, m->modules = NULL; m->config = CONFIG(EURO_HEAD);)
CHANGE(euro_bias, m->config = CONFIG("\"model_type\": \"eurobert\", \"mlp_bias\": true");)
CHANGE(ernie_tasks, m->config = CONFIG("\"model_type\": \"ernie\", \"use_task_id\": true");)
CHANGE(electra_none, m->config = "{\"model_type\": \"electra\"}";)
CHANGE(electra_zero, m->config = CONFIG("\"model_type\": \"electra\", \"embedding_size\": 0");)
#define JINA "\"model_type\": \"bert\", \"position_embedding_type\": \"alibi\""
CHANGE(jina_original, m->config = CONFIG(JINA);)
CHANGE(jina_code, m->config = CONFIG(JINA ", \"feed_forward_type\": \"geglu\", \"auto_map\": {\"AutoModel\": \"jinaai/jina-bert-v2-qk-post-norm--modeling_bert.JinaBertModel\"}");)
CHANGE(jina_names, m->config = CONFIG(JINA ", \"feed_forward_type\": \"geglu\"");)
CHANGE(two_classes, m->config = CONFIG(BERT ", \"architectures\": [\"BertModel\", \"BertForTokenClassification\"]");)
CHANGE(two_families, m->config = CONFIG(BERT ", \"architectures\": [\"BertModel\", \"RobertaModel\"]");)
CHANGE(modern_bias, m->config = CONFIG(MODERN ", \"norm_bias\": true");)
CHANGE(modern_window, m->config = CONFIG(MODERN ", \"local_attention\": 1");)
CHANGE(modern_every, m->config = CONFIG(MODERN ", \"global_attn_every_n_layers\": 0");)
CHANGE(modern_types, m->config = CONFIG(MODERN ", \"layer_types\": [\"full_attention\", \"full_attention\"]");)
CHANGE(modern_few, m->config = CONFIG(MODERN ", \"layer_types\": [\"full_attention\"]");)
CHANGE(silu, m->config = CONFIG(BERT ", \"hidden_act\": \"silu\"");)
CHANGE(relu, m->config = CONFIG(BERT ", \"hidden_act\": \"relu\"");)
CHANGE(gelu_new, m->config = CONFIG(BERT ", \"hidden_act\": \"gelu_new\"");)
CHANGE(relative, m->config = CONFIG(BERT ", \"position_embedding_type\": \"relative_key\"");)
CHANGE(decoder, m->config = CONFIG(BERT ", \"is_decoder\": true");)
CHANGE(cross, m->config = CONFIG(BERT ", \"add_cross_attention\": true");)
CHANGE(gptq, m->config = CONFIG(BERT ", \"quantization_config\": {\"bits\": 4}");)
CHANGE(eps_zero, m->config = CONFIG(BERT ", \"layer_norm_eps\": 0");)
CHANGE(eps_text, m->config = CONFIG(BERT ", \"layer_norm_eps\": \"1e-12\"");)
CHANGE(heads, m->config = "{" BERT ", \"hidden_size\": 8, \"num_attention_heads\": 3}";)
CHANGE(negative_size, m->config = "{" BERT ", \"hidden_size\": -8}";)
CHANGE(huge_size, m->config = "{" BERT ", \"intermediate_size\": 4294967296}";)
CHANGE(huge_layers, m->config = "{" BERT ", \"num_hidden_layers\": 100000}";)
CHANGE(fraction_size, m->config = "{" BERT ", \"vocab_size\": 24.5}";)
CHANGE(other_size, m->config = "{" BERT ", \"hidden_size\": 16, \"num_attention_heads\": 2, \"num_hidden_layers\": 2,"
	   " \"vocab_size\": 24}"; m->pooling = "{}";)
CHANGE(bare, m->modules = NULL; m->pooling = NULL; m->sentence_bert = NULL;)

CHANGE(modules_object, m->modules = "{}";)
CHANGE(modules_empty, m->modules = "[]";)
CHANGE(modules_number, m->modules = "[5]";)
CHANGE(module_no_type, m->modules = "[{\"path\": \"\"}]";)
CHANGE(no_pooling_module, m->modules = "[" MODULE("", ST "Transformer") "]";)
CHANGE(dense, m->modules = "[" MODULE("", ST "Transformer") "," MODULE("1_Pooling", ST "Pooling") ","
	   MODULE("2_Dense", ST "Dense") "]";)
CHANGE(own_code, m->modules = "[" MODULE("", "evil.Transformer") "]";)
CHANGE(path_up, m->modules = "[" MODULE("../../etc", ST "Transformer") "," MODULE("1_Pooling", ST "Pooling") "]";)
CHANGE(path_up_later, m->modules = "[" MODULE("", ST "Transformer") "," MODULE("1_Pooling/../../..", ST "Pooling") "]";)
CHANGE(path_absolute, m->modules = "[" MODULE("/etc", ST "Transformer") "," MODULE("1_Pooling", ST "Pooling") "]";)
CHANGE(path_backslash, m->modules = "[" MODULE("..\\\\etc", ST "Transformer") "," MODULE("1_Pooling", ST "Pooling") "]";)
CHANGE(without_normalize, m->modules = "[" MODULE("", ST "Transformer") "," MODULE("1_Pooling", ST "Pooling") "]";)

CHANGE(no_pooling, m->pooling = NULL;)
CHANGE(max_pooling, m->pooling = "{\"pooling_mode_mean_tokens\": false, \"pooling_mode_max_tokens\": true}";)
CHANGE(last_token, m->pooling = "{\"pooling_mode_mean_tokens\": false, \"pooling_mode_lasttoken\": true}";)
CHANGE(weighted, m->pooling = "{\"pooling_mode_mean_tokens\": false, \"pooling_mode_weightedmean_tokens\": true}";)
CHANGE(sqrt_len, m->pooling = "{\"pooling_mode_mean_tokens\": false, \"pooling_mode_mean_sqrt_len_tokens\": true}";)
CHANGE(two_poolings, m->pooling = "{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": true}";)
CHANGE(nothing_pooled, m->pooling = "{\"pooling_mode_mean_tokens\": false}";)
CHANGE(pooling_name, m->pooling = "{\"pooling_mode\": \"mean\"}";)
CHANGE(pooling_other, m->pooling = "{\"pooling_mode\": \"lasttoken\"}";)
CHANGE(pooling_dim, m->pooling = "{\"word_embedding_dimension\": 9}";)
CHANGE(no_prompt_pooled, m->pooling = "{\"include_prompt\": false}";)
CHANGE(no_prompt_pooled_but, m->pooling = "{\"include_prompt\": false}"; m->prompts = "{\"prompts\": {\"query\": \"query: \"}}";)

CHANGE(length_zero, m->sentence_bert = "{\"max_seq_length\": 0}";)
CHANGE(length_of_queries, m->sentence_bert = "{\"max_seq_length\": 16, \"query_length\": 8}";)
CHANGE(length_of_none, m->sentence_bert = "{\"max_seq_length\": 16, \"query_length\": null, \"query_expansion\": null}";)
CHANGE(length_text, m->sentence_bert = "{\"max_seq_length\": \"16\"}";)
CHANGE(length_two, m->sentence_bert = "{\"max_seq_length\": 2}";)
CHANGE(prompts_list, m->prompts = "{\"prompts\": []}";)
CHANGE(prompt_number, m->prompts = "{\"prompts\": {\"query\": 5}}";)
CHANGE(prompt_default, m->prompts = "{\"prompts\": {}, \"default_prompt_name\": \"missing\"}";)
CHANGE(prompt_fills, m->prompts = "{\"prompts\": {\"query\": \"a b c d e a b c d e a b c d e\"}}";)

CHANGE(no_vocab, m->vocab = NULL;)
CHANGE(vocab_too_long, m->vocab = SMALL_VOCAB "one\nmore\n";)
CHANGE(no_bias, m->omit = "encoder.layer.1.output.dense.bias";)
CHANGE(no_words, m->omit = "embeddings.word_embeddings.weight";)
CHANGE(transposed, m->transposed = "encoder.layer.0.intermediate.dense.weight";)
CHANGE(nan_weight, m->nan = "encoder.layer.1.attention.self.key.weight";)
CHANGE(nan_f16, m->nan = "encoder.layer.1.output.LayerNorm.bias"; m->dtype = "F16";)
CHANGE(cut_weights, m->cut = 5;)
CHANGE(f16, m->dtype = "F16";)
CHANGE(bf16, m->dtype = "BF16";)
CHANGE(i32, m->dtype = "I32";)
CHANGE(bert_prefix, m->prefix = "bert.";)
CHANGE(wrapper_prefix, m->prefix = "0.auto_model.";)
CHANGE(old_names, m->old_norm_names = true;)
CHANGE(extra_tensors, m->extra = ", \"pooler.dense.weight\": {\"dtype\": \"F32\", \"shape\": [0, 8], \"data_offsets\": [0, 0]},"
	   " \"embeddings.position_ids\": {\"dtype\": \"I64\", \"shape\": [1, 0], \"data_offsets\": [0, 0]}";)
CHANGE(two_models, m->prefix = "a."; m->extra = ", \"b.embeddings.word_embeddings.weight\":"
	   " {\"dtype\": \"F32\", \"shape\": [0, 8], \"data_offsets\": [0, 0]}";)

static const Case cases[] = {
	{"as it is", as_it_is, EMB_OK, NULL, NULL},
	{"no config.json", no_config, EMB_ERR_NOT_FOUND, "config.json", NULL},
	{"config.json cut", config_not_json, EMB_ERR_FORMAT, "config.json", NULL},
	{"config.json a list", config_a_list, EMB_ERR_FORMAT, "config.json", NULL},
	{"U+0000", config_nul, EMB_ERR_FORMAT, "config.json", NULL},
	{"nested deeply", config_deep, EMB_ERR_FORMAT, "config.json", NULL},
	{"no model_type", no_type, EMB_ERR_FORMAT, "model_type", NULL},
	{"another family", bloom, EMB_ERR_UNSUPPORTED, "model_type", "bloom"},
	{"model_type a number", type_number, EMB_ERR_FORMAT, "model_type", NULL},
	{"a classifier of tokens", token_classifier, EMB_ERR_UNSUPPORTED, "architectures", "BertForTokenClassification"},
	{"a reranker", reranker, EMB_OK, NULL, NULL},
	{"num_labels 1", one_label_by_number, EMB_OK, NULL, NULL},
	{"two labels by default", default_labels, EMB_ERR_FORMAT, "classifier.weight", "[2, 8]"},
	{"two labels", two_labels, EMB_ERR_FORMAT, "classifier.weight", "[2, 8]"},
	{"DeBERTa's first version", deberta_v1, EMB_ERR_UNSUPPORTED, "deberta", NULL},
	{"DeBERTa without distances", deberta_absolute, EMB_ERR_UNSUPPORTED, "relative_attention", NULL},
	{"DeBERTa with keys of its own for distances", deberta_shared, EMB_ERR_UNSUPPORTED, "share_att_key", NULL},
	{"DeBERTa with one kind", deberta_kinds, EMB_ERR_UNSUPPORTED, "pos_att_type", "p2c"},
	{"DeBERTa with absolute positions", deberta_biased, EMB_ERR_UNSUPPORTED, "position_biased_input", NULL},
	{"DeBERTa with a convolution", deberta_conv, EMB_ERR_UNSUPPORTED, "conv_kernel_size", NULL},
	{"DeBERTa with types", deberta_types, EMB_ERR_UNSUPPORTED, "type_vocab_size", NULL},
	{"DeBERTa with another norm", deberta_norm, EMB_ERR_UNSUPPORTED, "norm_rel_ebd", "rms"},
	{"DeBERTa with too many buckets", deberta_buckets, EMB_ERR_FORMAT, "position_buckets", NULL},
	{"DeBERTa whose distances do not fit", deberta_few, EMB_ERR_FORMAT, "largest distance 100", "256"},
	{"labels a list", labels_list, EMB_ERR_FORMAT, "id2label", NULL},
	{"no classifier.weight", no_classifier, EMB_ERR_NOT_FOUND, "\"classifier.weight\"", NULL},
	{"no pooler bias", no_pooler, EMB_ERR_NOT_FOUND, "bert.pooler.dense.bias", NULL},
	{"a NaN in the classifier", nan_classifier, EMB_ERR_FORMAT, "classifier.weight", NULL},
	{"a reranker without prefix", no_prefix, EMB_OK, NULL, NULL},
	{"a reranker in a wrapper", wrapped, EMB_OK, NULL, NULL},
	{"two classifiers", two_classifiers, EMB_ERR_UNSUPPORTED, "two classifiers", "b.classifier.weight"},
	{"Identity", identity, EMB_OK, NULL, NULL},
	{"Sigmoid in the old place", old_sigmoid, EMB_OK, NULL, NULL},
	{"Tanh", tanh_score, EMB_ERR_UNSUPPORTED, "activation_fn", "Tanh"},
	{"an activation of somebody's own", own_score, EMB_ERR_UNSUPPORTED, "activation_fn", "my.code"},
	{"ReLU in the CrossEncoder's file", encoder_score, EMB_ERR_UNSUPPORTED, "activation_fn", "ReLU"},
	{"a default prompt of a reranker", encoder_prompt, EMB_ERR_UNSUPPORTED, "default_prompt_name", NULL},
	{"prompts that nobody asks for", encoder_prompts, EMB_OK, NULL, NULL},
	{"a CrossEncoder's modules.json", encoder_module, EMB_OK, NULL, NULL},
	{"a reranker with a Pooling", pooled_reranker, EMB_ERR_UNSUPPORTED, "modules.json", "CrossEncoder"},
	{"an embedding model without Pooling", embedding_module, EMB_ERR_UNSUPPORTED, "modules.json", "Pooling"},
	{"a reranker with one token type", one_type, EMB_ERR_FORMAT, "type", NULL},
	{"no room beside three special tokens", length_three, EMB_ERR_INVALID_ARGUMENT, "max_tokens", "3"},
	{"another class", xlmr_class, EMB_ERR_UNSUPPORTED, "architectures", "XLMRobertaModel"},
	{"a language model", masked_lm, EMB_OK, NULL, NULL},
	{"RoBERTa", roberta, EMB_OK, NULL, NULL},
	{"XLM-RoBERTa", xlm_roberta, EMB_OK, NULL, NULL},
	{"a RoBERTa of a BERT's class", roberta_of_bert, EMB_ERR_UNSUPPORTED, "architectures", "BertModel"},
	{"a BERT of a RoBERTa's class", bert_of_roberta, EMB_ERR_UNSUPPORTED, "architectures", "RobertaModel"},
	{"no position behind the padding's", pad_last, EMB_ERR_FORMAT, "max_position_embeddings", "pad_token_id\" 15"},
	{"padding beyond the vocabulary", pad_beyond, EMB_ERR_FORMAT, "pad_token_id", "24"},
	{"padding below 0", pad_negative, EMB_ERR_FORMAT, "pad_token_id", "-1"},
	{"too few positions", roberta_positions, EMB_ERR_FORMAT, "position_embeddings.weight", "[17, 8]"},
	{"a RoBERTa's head by BERT's names", roberta_head, EMB_ERR_NOT_FOUND, "\"classifier.dense.weight\"", NULL},
	{"a DistilBERT's classifier of tokens", distilbert_class, EMB_ERR_UNSUPPORTED, "architectures", "DistilBertForTokenClassification"},
	{"a DistilBERT by BERT's names", distilbert_names, EMB_ERR_NOT_FOUND, "\"transformer.layer.0.attention.q_lin.weight\"", NULL},
	{"a DistilBERT's heads", distilbert_heads, EMB_ERR_FORMAT, "\"dim\"", "\"n_heads\" 3"},
	{"an MPNet with other buckets", mpnet_buckets, EMB_ERR_UNSUPPORTED, "relative_attention_num_buckets", "64"},
	{"an MPNet with other padding", mpnet_padding, EMB_ERR_UNSUPPORTED, "pad_token_id", "0"},
	{"an MPNet by BERT's names", mpnet_names, EMB_ERR_NOT_FOUND, "\"encoder.relative_attention_bias.weight\"", NULL},
	{"a NomicBert by BERT's names", nomic_names, EMB_ERR_NOT_FOUND, "\"emb_ln.weight\"", NULL},
	{"a NomicBert that rotates nothing", nomic_no_fraction, EMB_ERR_UNSUPPORTED, "rotary_emb_fraction", "0"},
	{"a NomicBert that rotates a half", nomic_half, EMB_ERR_UNSUPPORTED, "rotary_emb_fraction", "0.5"},
	{"a NomicBert with norms first", nomic_prenorm, EMB_ERR_UNSUPPORTED, "prenorm", "true"},
	{"a NomicBert of experts", nomic_experts, EMB_ERR_UNSUPPORTED, "num_experts", NULL},
	{"experts by BERT's names", experts_names, EMB_ERR_NOT_FOUND, "\"emb_ln.weight\"", NULL},
	{"more experts than we have room for", experts_many, EMB_ERR_FORMAT, "num_experts", "65"},
	{"more experts of a token than there are", experts_top, EMB_ERR_FORMAT, "moe_top_k", "5"},
	{"experts of which a token has no number", experts_no_top, EMB_ERR_FORMAT, "moe_top_k", "missing"},
	{"shared experts", experts_shared, EMB_ERR_UNSUPPORTED, "num_shared_experts", NULL},
	{"experts that choose", experts_choice, EMB_ERR_UNSUPPORTED, "expert_choice_router", NULL},
	{"shares that are normalized", experts_normalized, EMB_ERR_UNSUPPORTED, "moe_normalize_expert_weights", NULL},
	{"experts with another activation", experts_tanh, EMB_ERR_UNSUPPORTED, "activation_function", "gelu_new"},
	{"experts with an activation that gates do not have", experts_relu, EMB_ERR_UNSUPPORTED, "activation_function", "relu"},
	{"experts without an activation", experts_no_activation, EMB_ERR_FORMAT, "activation_function", "missing"},
	{"two numbers of experts", experts_twice, EMB_ERR_UNSUPPORTED, "num_local_experts", NULL},
	{"a plain NomicBert without biases", plain_bias, EMB_ERR_UNSUPPORTED, "qkv_proj_bias", "false"},
	{"a NomicBert with scaled rotation", nomic_scaled, EMB_ERR_UNSUPPORTED, "rotary_scaling_factor", NULL},
	{"a base of 0", nomic_base, EMB_ERR_FORMAT, "rotary_emb_base", "0"},
	{"a NomicBert with biases", nomic_biases, EMB_ERR_UNSUPPORTED, "qkv_proj_bias", NULL},
	{"an activation behind gates", nomic_relu, EMB_ERR_UNSUPPORTED, "hidden_act", "mish"},
	{"heads of an odd size", odd_heads, EMB_ERR_FORMAT, "3 elements", NULL},
	{"a GTE with absolute positions", gte_absolute, EMB_ERR_UNSUPPORTED, "position_embedding_type", "absolute"},
	{"a GTE with linear scaling", gte_linear, EMB_ERR_UNSUPPORTED, "rope_scaling", "linear"},
	{"a GTE scaled too far", gte_factor, EMB_ERR_FORMAT, "factor", NULL},
	{"a GTE with another norm", gte_norm, EMB_ERR_UNSUPPORTED, "layer_norm_type", "rms_norm"},
	{"a GTE with another rotation", gte_rope, EMB_ERR_UNSUPPORTED, "rope_type", "yarn"},
	{"a GTE's classifier of tokens", gte_head, EMB_ERR_UNSUPPORTED, "architectures", "NewForTokenClassification"},
	{"a ModernBERT by BERT's names", modern_names, EMB_ERR_NOT_FOUND, "embeddings.tok_embeddings.weight", NULL},
	{"a ModernBERT with biases", modern_bias, EMB_ERR_UNSUPPORTED, "norm_bias", NULL},
	{"a ModernBERT's head that pools otherwise", modern_pooling, EMB_ERR_UNSUPPORTED, "classifier_pooling", "max"},
	{"a ModernBERT's head with a gate's activation", modern_activation, EMB_ERR_UNSUPPORTED, "classifier_activation", "silu"},
	{"a ModernBERT's head with a number for a switch", modern_head_bias, EMB_ERR_FORMAT, "classifier_bias", NULL},
	{"a ModernBERT's head of three labels", modern_labels, EMB_ERR_UNSUPPORTED, "3 labels", "none is known"},
	{"a window of nothing", modern_window, EMB_ERR_FORMAT, "local_attention", "1"},
	{"no global layer", modern_every, EMB_ERR_FORMAT, "global_attn_every_n_layers", "0"},
	{"global layers out of order", modern_types, EMB_ERR_UNSUPPORTED, "layer_types", "full_attention"},
	{"too few layer types", modern_few, EMB_ERR_FORMAT, "layer_types", NULL},
	{"a Gemma without sizes", gemma_sizes, EMB_ERR_FORMAT, "num_key_value_heads", "missing"},
	{"a Gemma with capped scores", gemma_softcap, EMB_ERR_UNSUPPORTED, "attn_logit_softcapping", NULL},
	{"a Gemma with biases", gemma_bias, EMB_ERR_UNSUPPORTED, "attention_bias", NULL},
	{"a Gemma with other layers", gemma_types, EMB_ERR_UNSUPPORTED, "layer_types", "chunked_attention"},
	{"a Gemma with too few layer types", gemma_few, EMB_ERR_FORMAT, "layer_types", NULL},
	{"a Gemma whose window is the token", gemma_width, EMB_ERR_FORMAT, "sliding_window", "1"},
	{"a Gemma with scaled rotation", gemma_rope, EMB_ERR_UNSUPPORTED, "rope_scaling", "linear"},
	{"a Gemma that reranks", gemma_reranker, EMB_ERR_UNSUPPORTED, "rerankers of type", "gemma3_text"},
	{"a Gemma with images", gemma_images, EMB_ERR_UNSUPPORTED, "architectures", "Gemma3ForConditionalGeneration"},
	{"a EuroBERT that pools logits", euro_late, EMB_ERR_UNSUPPORTED, "classifier_pooling", "late"},
	{"a EuroBERT with biases", euro_bias, EMB_ERR_UNSUPPORTED, "mlp_bias", NULL},
	{"an ERNIE without its tasks", ernie_tasks, EMB_ERR_NOT_FOUND, "task_type_embeddings", NULL},
	{"an ELECTRA without sizes", electra_none, EMB_ERR_FORMAT, "hidden_size", "missing"},
	{"an ELECTRA without embeddings", electra_zero, EMB_ERR_FORMAT, "embedding_size", "0"},
	{"a JinaBert without gates", jina_original, EMB_ERR_UNSUPPORTED, "feed_forward_type", "original"},
	{"a JinaBert with norms of queries by BERT's names", jina_code, EMB_ERR_NOT_FOUND, "mlp.up_gated_layer", NULL},
	{"a JinaBert by BERT's names", jina_names, EMB_ERR_NOT_FOUND, "mlp.gated_layers", NULL},
	{"an encoder with a class for tokens", two_classes, EMB_OK, NULL, NULL},
	{"classes of two families", two_families, EMB_ERR_UNSUPPORTED, "architectures", "RobertaModel"},
	{"no architectures", no_architectures, EMB_OK, NULL, NULL},
	{"another activation", silu, EMB_ERR_UNSUPPORTED, "hidden_act", "silu"},
	{"relu", relu, EMB_OK, NULL, NULL},
	{"gelu_new", gelu_new, EMB_OK, NULL, NULL},
	{"relative positions", relative, EMB_ERR_UNSUPPORTED, "position_embedding_type", "relative_key"},
	{"a decoder", decoder, EMB_ERR_UNSUPPORTED, "is_decoder", NULL},
	{"cross attention", cross, EMB_ERR_UNSUPPORTED, "add_cross_attention", NULL},
	{"quantized without a method", gptq, EMB_ERR_FORMAT, "quantization_config", "quant_method"},
	{"epsilon 0", eps_zero, EMB_ERR_FORMAT, "layer_norm_eps", NULL},
	{"epsilon a string", eps_text, EMB_ERR_FORMAT, "layer_norm_eps", NULL},
	{"heads that do not divide", heads, EMB_ERR_FORMAT, "hidden_size", "num_attention_heads"},
	{"negative size", negative_size, EMB_ERR_FORMAT, "hidden_size", "-8"},
	{"size of 2^32", huge_size, EMB_ERR_FORMAT, "intermediate_size", "4294967296"},
	{"100,000 layers", huge_layers, EMB_ERR_FORMAT, "num_hidden_layers", "100000"},
	{"half a word", fraction_size, EMB_ERR_FORMAT, "vocab_size", NULL},
	{"sizes of another model", other_size, EMB_ERR_FORMAT, "word_embeddings", "[24, 8]"},
	{"a bare checkpoint", bare, EMB_OK, NULL, NULL},
	{"modules.json an object", modules_object, EMB_ERR_FORMAT, "modules.json", NULL},
	{"modules.json empty", modules_empty, EMB_ERR_UNSUPPORTED, "modules.json", NULL},
	{"a module that is a number", modules_number, EMB_ERR_FORMAT, "modules.json", NULL},
	{"a module without type", module_no_type, EMB_ERR_FORMAT, "modules.json", "type"},
	{"no Pooling", no_pooling_module, EMB_ERR_UNSUPPORTED, "modules.json", "Pooling"},
	{"Dense without its files", dense, EMB_ERR_NOT_FOUND, "2_Dense/config.json", NULL},
	{"somebody's code", own_code, EMB_ERR_UNSUPPORTED, "modules.json", "evil.Transformer"},
	{"path up", path_up, EMB_ERR_FORMAT, "modules.json", "../../etc"},
	{"path up later", path_up_later, EMB_ERR_FORMAT, "modules.json", "1_Pooling/../../.."},
	{"absolute path", path_absolute, EMB_ERR_FORMAT, "modules.json", "/etc"},
	{"backslash", path_backslash, EMB_ERR_FORMAT, "modules.json", NULL},
	{"no Normalize", without_normalize, EMB_OK, NULL, NULL},
	{"no pooling file", no_pooling, EMB_ERR_NOT_FOUND, "1_Pooling/config.json", NULL},
	{"max pooling", max_pooling, EMB_OK, NULL, NULL},
	{"last token", last_token, EMB_OK, NULL, NULL},
	{"weighted mean", weighted, EMB_OK, NULL, NULL},
	{"sqrt len", sqrt_len, EMB_OK, NULL, NULL},
	{"two poolings", two_poolings, EMB_OK, NULL, NULL},
	{"no pooling at all: the mean", nothing_pooled, EMB_OK, NULL, NULL},
	{"pooling by name", pooling_name, EMB_OK, NULL, NULL},
	{"the last by name", pooling_other, EMB_OK, NULL, NULL},
	{"pooling of another width", pooling_dim, EMB_ERR_FORMAT, "word_embedding_dimension", "9"},
	{"prompt not pooled, none there", no_prompt_pooled, EMB_OK, NULL, NULL},
	{"prompt not pooled", no_prompt_pooled_but, EMB_OK, NULL, NULL},
	{"max_seq_length 0", length_zero, EMB_ERR_FORMAT, "max_seq_length", NULL},
	{"a length of queries", length_of_queries, EMB_ERR_UNSUPPORTED, "query_length", NULL},
	{"max_seq_length a string", length_text, EMB_ERR_FORMAT, "max_seq_length", NULL},
	{"max_seq_length 2", length_two, EMB_ERR_INVALID_ARGUMENT, "max_tokens 2", NULL},
	{"prompts a list", prompts_list, EMB_ERR_FORMAT, "prompts", NULL},
	{"a prompt of 5", prompt_number, EMB_ERR_FORMAT, "config_sentence_transformers.json", NULL},
	{"no such default prompt", prompt_default, EMB_ERR_FORMAT, "missing", NULL},
	{"a prompt that fills", prompt_fills, EMB_ERR_INVALID_ARGUMENT, "query prompt", NULL},
	{"no tokenizer", no_vocab, EMB_ERR_NOT_FOUND, "vocab.txt", NULL},
	{"ids without rows", vocab_too_long, EMB_ERR_FORMAT, "vocab_size", "26"},
	{"a bias missing", no_bias, EMB_ERR_NOT_FOUND, "encoder.layer.1.output.dense.bias", NULL},
	{"no words", no_words, EMB_ERR_NOT_FOUND, "embeddings.word_embeddings.weight", NULL},
	{"transposed", transposed, EMB_ERR_FORMAT, "encoder.layer.0.intermediate.dense.weight", "[8, 20]"},
	{"a NaN", nan_weight, EMB_ERR_FORMAT, "encoder.layer.1.attention.self.key.weight", "index 2"},
	{"a NaN in F16", nan_f16, EMB_ERR_FORMAT, "encoder.layer.1.output.LayerNorm.bias", "index 2"},
	{"weights cut", cut_weights, EMB_ERR_FORMAT, "model.safetensors", NULL},
	{"F16", f16, EMB_OK, NULL, NULL},
	{"BF16", bf16, EMB_OK, NULL, NULL},
	{"I32", i32, EMB_ERR_UNSUPPORTED, "I32", "embeddings.word_embeddings.weight"},
	{"bert.", bert_prefix, EMB_OK, NULL, NULL},
	{"0.auto_model.", wrapper_prefix, EMB_OK, NULL, NULL},
	{"gamma and beta", old_names, EMB_OK, NULL, NULL},
	{"tensors nobody needs", extra_tensors, EMB_OK, NULL, NULL},
	{"two models", two_models, EMB_ERR_UNSUPPORTED, "a.embeddings", "b.embeddings"},
};

static EmbStatus
import_changed(void (*change) (SmallModel *m), const EmbImportOptions *options, Image *image, EmbError *err)
{
	SmallModel	m = small_model();
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbStatus	status;

	change(&m);
	write_small_model(fresh_dir(), &m);
	memset(err, 0, sizeof(*err));
	status = import_image(temp_root, options, &mem, image, err);
	CHECKF(count.n_live == 0, "%ld blocks leaked", count.n_live);
	return status;
}

static void
test_cases(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const Case *c = &cases[i];
		Image		image;
		EmbError	err;
		EmbStatus	status = import_changed(c->change, NULL, &image, &err);

		CHECKF(status == c->status && (c->message == NULL || strstr(err.message, c->message) != NULL) &&
			   (c->also == NULL || strstr(err.message, c->also) != NULL),
			   "%s: status %d, \"%s\"", c->what, status, err.message);
		/* only what no header tells is found late: then a part of the image is out */
		if (status != EMB_OK)
			CHECKF(image.size_bytes == 0 || strstr(c->what, "a NaN") != NULL, "%s: %zu bytes reached the sink", c->what, image.size_bytes);
		if (status == EMB_OK)
			CHECK(image.total_bytes == (int64_t) image.size_bytes && image.n_progress > 10);
		free(image.data);
	}
}

/* ------------------------------------------------------- what is read */

typedef struct Reading
{
	const char *what;
	void		(*change) (SmallModel *m);
	EmbImportOptions options;
	const char *pooling;
	bool		normalize;
	int			max_tokens;
	const char *query,
			   *document;
} Reading;

CHANGE(prompts_usual, m->prompts = "{\"prompts\": {\"query\": \"query: \", \"passage\": \"passage: \"}}";)
CHANGE(prompts_default, m->prompts = "{\"prompts\": {\"search\": \"search \"}, \"default_prompt_name\": \"search\"}";)
CHANGE(prompts_empty, m->prompts = "{\"prompts\": {\"query\": \"\", \"document\": \"\", \"search\": \"search \"}, \"default_prompt_name\": \"search\"}";)
CHANGE(prompts_null, m->prompts = "{\"prompts\": null, \"default_prompt_name\": null}";)
CHANGE(from_tokenizer, m->sentence_bert = "{\"max_seq_length\": null}"; m->tokenizer_config = "{\"do_lower_case\": true, \"model_max_length\": 12}";)
CHANGE(tokenizer_huge, m->sentence_bert = NULL; m->tokenizer_config =
	   "{\"do_lower_case\": true, \"model_max_length\": 1000000000000000019884624838656}";)
CHANGE(length_beyond, m->sentence_bert = "{\"max_seq_length\": 512}";)
CHANGE(mean_normalized, m->pooling = "{}";)

static const Reading readings[] = {
	{"as it is", as_it_is, {0}, "cls", true, 16, "", ""},
	{"positions above the padding's", roberta, {0}, "cls", true, 14, "", ""},
	{"mean is the default", mean_normalized, {0}, "mean", true, 16, "", ""},
	{"no Normalize", without_normalize, {0}, "cls", false, 16, "", ""},
	{"a bare checkpoint", bare, {0}, "mean", false, 16, "", ""},
	{"prompts", prompts_usual, {0}, "cls", true, 16, "query: ", "passage: "},
	{"prompts null", prompts_null, {0}, "cls", true, 16, "", ""},
	{"a default prompt", prompts_default, {0}, "cls", true, 16, "", ""},
	{"an empty prompt is one", prompts_empty, {0}, "cls", true, 16, "", ""},
	{"prompts given", prompts_usual, {.query_prompt = "a ", .document_prompt = ""}, "cls", true, 16, "a ", ""},
	{"one prompt given", prompts_usual, {.document_prompt = "b "}, "cls", true, 16, "query: ", "b "},
	{"prompts given for include_prompt", no_prompt_pooled_but, {.query_prompt = ""}, "mean", true, 16, "", ""},
	{"length given", as_it_is, {.max_tokens = 7, .precision = "fp32"}, "cls", true, 7, "", ""},
	{"length given in int8", as_it_is, {.max_tokens = 7, .precision = "int8"}, "cls", true, 7, "", ""},
	{"length of the tokenizer", from_tokenizer, {0}, "cls", true, 12, "", ""},
	{"no length at all", tokenizer_huge, {0}, "cls", true, 16, "", ""},
	{"no other length of queries", length_of_none, {0}, "cls", true, 16, "", ""},
	{"length beyond the positions", length_beyond, {0}, "cls", true, 16, "", ""},
};

static void
test_readings(void)
{
	EmbAllocator mem = emb_malloc_allocator();

	for (size_t i = 0; i < sizeof(readings) / sizeof(readings[0]); i++)
	{
		const Reading *r = &readings[i];
		Image		image;
		EmbModel   *model;
		EmbError	err;
		const EmbModelInfo *info;

		if (!CHECKF(import_changed(r->change, &r->options, &image, &err) == EMB_OK, "%s: %s", r->what, err.message) ||
			!CHECKF(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) == EMB_OK,
					"%s: %s", r->what, err.message))
			continue;
		info = emb_model_info(model);
		CHECKF(strcmp(info->pooling, r->pooling) == 0 && info->normalize == r->normalize &&
			   info->max_tokens == r->max_tokens && strcmp(info->query_prompt, r->query) == 0 &&
			   strcmp(info->document_prompt, r->document) == 0,
			   "%s: %s %d %d \"%s\" \"%s\"", r->what, info->pooling, info->normalize, info->max_tokens,
			   info->query_prompt, info->document_prompt);
		CHECK(info->dim == 8 && info->n_layers == 2 && info->n_vocab == 24);
		CHECK(strcmp(info->precision, r->options.precision != NULL ? r->options.precision : "int8") == 0);
		emb_model_close(model);
		free(image.data);
	}
}

CHANGE(cased, m->tokenizer_config = "{\"do_lower_case\": false}";)
CHANGE(cased_lowered, m->tokenizer_config = "{\"do_lower_case\": false}"; m->sentence_bert = "{\"do_lower_case\": true}";)

/* sentence-transformers' do_lower_case works on the text, in front of a cased tokenizer too. */
static void
test_lowercase(void)
{
	EmbAllocator mem = emb_malloc_allocator();

	for (int lowered = 0; lowered < 2; lowered++)
	{
		Image		image;
		EmbModel   *model;
		EmbEncoded	r;
		int32_t		ids[16];
		EmbError	err;

		if (!CHECK(import_changed(lowered ? cased_lowered : cased, NULL, &image, &err) == EMB_OK) ||
			!CHECK(emb_model_open(image.data, image.size_bytes, 0, &mem, NULL, &model, &err) == EMB_OK))
			continue;
		CHECK(emb_model_encode(model, EMB_PROMPT_NONE, &(EmbText) {"A [MASK]", 8, true, NULL},
				&(EmbReading) {.ids = ids, .max_ids = 16, .mem = &mem}, &r, &err) == EMB_OK);
		CHECKF(r.n_ids == 4 && ids[1] == (lowered ? 5 : 1) && ids[2] == 4, "%d ids, %d %d", r.n_ids, ids[1], ids[2]);
		emb_model_close(model);
		free(image.data);
	}
}

static void
test_options(void)
{
	static const char *const bad_text[] = {"good", "bad \xE4"};
	static const struct
	{
		EmbImportOptions options;
		EmbStatus	status;
		const char *message;
	}			wrong[] =
	{
		{{.precision = "int4", .group = 48}, EMB_ERR_INVALID_ARGUMENT, "group 48"},
		{{.group = 64}, EMB_ERR_INVALID_ARGUMENT, "int4"},
		{{.keep_int8 = "none"}, EMB_ERR_INVALID_ARGUMENT, "int4"},
		{{.precision = "int4", .keep_int8 = "some"}, EMB_ERR_INVALID_ARGUMENT, "some"},
		{{.calibration_texts = bad_text, .n_calibration_texts = 0}, EMB_ERR_INVALID_ARGUMENT, "no calibration texts"},
		{{.calibration_texts = bad_text, .n_calibration_texts = 2}, EMB_ERR_TEXT, "calibration text 2"},
		{{.precision = "fp7"}, EMB_ERR_INVALID_ARGUMENT, "fp7"},
		{{.precision = ""}, EMB_ERR_INVALID_ARGUMENT, "precision"},
		{{.max_tokens = -1}, EMB_ERR_INVALID_ARGUMENT, "max_tokens -1"},
		{{.max_tokens = 17}, EMB_ERR_INVALID_ARGUMENT, "max_tokens 17"},
		{{.max_tokens = 2}, EMB_ERR_INVALID_ARGUMENT, "max_tokens 2"},
		{{.query_prompt = "a\xFF"}, EMB_ERR_INVALID_ARGUMENT, "query prompt"},
		{{.document_prompt = "a b c d e", .max_tokens = 5}, EMB_ERR_INVALID_ARGUMENT, "document prompt"},
	};
	static char prompt[10000];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		Image		image;
		EmbError	err;
		EmbStatus	status = import_changed(as_it_is, &wrong[i].options, &image, &err);

		CHECKF(status == wrong[i].status && strstr(err.message, wrong[i].message) != NULL,
			   "%s: status %d, \"%s\"", wrong[i].message, status, err.message);
		free(image.data);
	}
	memset(prompt, 'a', sizeof(prompt) - 1);
	{
		EmbImportOptions options = {.query_prompt = prompt};
		Image		image;
		EmbError	err;

		CHECK(import_changed(as_it_is, &options, &image, &err) == EMB_ERR_LIMIT);
		free(image.data);
	}
}

/* ------------------------------------------------------------- quantizing */

/* Other calibration texts make another image, texts that are not used do not, and fp32 ignores all. */
static void
test_calibration(void)
{
	static const char *texts[300];
	EmbImportOptions few = {.calibration_texts = texts, .n_calibration_texts = 3};
	EmbImportOptions most = {.calibration_texts = texts, .n_calibration_texts = 256};
	EmbImportOptions all = {.calibration_texts = texts, .n_calibration_texts = 300};
	EmbImportOptions exact = {.precision = "fp32", .calibration_texts = texts, .n_calibration_texts = 3};
	EmbImportOptions plain = {.precision = "fp32"};
	EmbImportOptions *options[] = {&few, &most, &all, &exact, &plain};
	Image		images[5];
	EmbError	err;

	for (int i = 0; i < 300; i++)
		texts[i] = i % 2 ? "the data of a" : "search b, c, d. e";
	for (int i = 0; i < 5; i++)
		CHECKF(import_changed(as_it_is, options[i], &images[i], &err) == EMB_OK, "%s", err.message);
	CHECK(memcmp(images[0].data, images[1].data, images[0].size_bytes) != 0);
	CHECK(memcmp(images[1].data, images[2].data, images[1].size_bytes) == 0);
	CHECK(images[3].size_bytes == images[4].size_bytes && memcmp(images[3].data, images[4].data, images[3].size_bytes) == 0);
	for (int i = 0; i < 5; i++)
		free(images[i].data);
}

static void
test_stages(void)
{
	static const char *const stages[] = {"read", "layers", "verify", "write"};
	Image		image;
	EmbError	err;

	CHECK(import_changed(as_it_is, NULL, &image, &err) == EMB_OK && image.n_stages == 4);
	for (int i = 0; i < image.n_stages; i++)
		CHECK(strcmp(image.stages[i], stages[i]) == 0);
	free(image.data);
}

/* Weights near the end of single precision: an error, no NaN in an image. */
static void
huge(SmallModel *m)
{
	m->scale = 1e37f;
}

static void
tiny_weights(SmallModel *m)
{
	m->scale = 1e-38f;
}

static void
test_extremes(void)
{
	static const char *const precisions[] = {"fp32", "int8"};
	EmbAllocator mem = emb_malloc_allocator();

	for (int i = 0; i < 2; i++)
	{
		EmbImportOptions options = {.precision = precisions[i]};
		EmbModel   *model;
		Image		image;
		EmbError	err;

		CHECKF(import_changed(huge, &options, &image, &err) == EMB_ERR_LIMIT, "%s", err.message);
		free(image.data);
		CHECKF(import_changed(tiny_weights, &options, &image, &err) == EMB_OK, "%s", err.message);
		CHECKF(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &mem, NULL, &model, &err) == EMB_OK,
			   "%s", err.message);
		emb_model_close(model);
		free(image.data);
	}
}

/* -------------------------------------------------- special files, ways out */

static void
test_special_files(void)
{
	static const char *const names[] = {
		"config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json",
		"config_sentence_transformers.json", "vocab.txt", "model.safetensors"
	};
	EmbAllocator mem = emb_malloc_allocator();
	SmallModel	m = small_model();
	char		path[PATH_MAX];
	Image		image;
	EmbError	err;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		for (int kind = 0; kind < 3; kind++)
		{
			EmbStatus	status;

			write_small_model(fresh_dir(), &m);
			snprintf(path, sizeof(path), "%s/%s", temp_root, names[i]);
			unlink(path);
			if (kind == 0 ? mkfifo(path, 0600) != 0 : kind == 1 ? mkdir(path, 0700) != 0 : symlink("/dev/zero", path) != 0)
				abort();
			status = import_image(temp_root, NULL, &mem, &image, &err);
			CHECKF(status == EMB_ERR_NOT_REGULAR && strstr(err.message, names[i]) != NULL && image.size_bytes == 0,
				   "%s: status %d, \"%s\"", names[i], status, err.message);
		}
	}
	CHECK(import_image("/does/not/exist", NULL, &mem, &image, &err) == EMB_ERR_NOT_FOUND &&
		  strstr(err.message, "/does/not/exist") != NULL);
	CHECK(import_image("/dev/null", NULL, &mem, &image, &err) == EMB_ERR_NOT_REGULAR);
	snprintf(path, sizeof(path), "%s/config.json", temp_root);
	CHECK(import_image(path, NULL, &mem, &image, &err) == EMB_ERR_NOT_REGULAR && strstr(err.message, "neither a directory nor a GGUF file") != NULL);
}

/* A link to nothing is a file that could not be read: nothing else is read in its place, and nothing is done without. */
static void
test_dangling_links(void)
{
	static const char *const names[] = {
		"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json",
		"model.safetensors.index.json", "sparse_linear.pt", "bge_m3_heads.safetensors"
	};
	EmbAllocator mem = emb_malloc_allocator();
	SmallModel	m = small_model();
	char		path[PATH_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		Image		image;
		EmbError	err;
		EmbStatus	status;

		write_small_model(fresh_dir(), &m);
		if (strcmp(names[i], "model.safetensors.index.json") == 0)
		{
			snprintf(path, sizeof(path), "%s/model.safetensors", temp_root);
			unlink(path);
		}
		snprintf(path, sizeof(path), "%s/%s", temp_root, names[i]);
		unlink(path);
		if (symlink("../../blobs/0123abc", path) != 0)
			abort();
		status = import_image(temp_root, NULL, &mem, &image, &err);
		CHECKF(status == EMB_ERR_NOT_FOUND && strstr(err.message, names[i]) != NULL && image.size_bytes == 0,
			   "%s: status %d, \"%s\"", names[i], status, err.message);
		free(image.data);
	}
}

static bool
stop_after(void *ctx)
{
	return --*(int *) ctx < 0;
}

static void
test_ways_out(void)
{
	SmallModel	m = small_model();
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	Image		image = {.limit = 10000};
	EmbSink		sink = {.ctx = &image, .write = image_write};
	int			n_left;
	EmbStop		stop = {.ctx = &n_left, .should_stop = stop_after};
	EmbStatus	status = EMB_ERR_NOMEM;
	EmbError	err;

	write_small_model(fresh_dir(), &m);
	CHECK(emb_import_dir(temp_root, NULL, &mem, NULL, &sink, &err) == EMB_ERR_DISK_FULL);
	CHECK(count.n_live == 0);
	image.limit = 0;
	for (int i = 0; i < 200; i += 1 + i / 20)
	{
		image.size_bytes = 0;
		n_left = i;
		CHECK(emb_import_dir(temp_root, NULL, &mem, &stop, &sink, &err) == EMB_ERR_CANCELLED);
		CHECK(count.n_live == 0);
	}
	for (int i = 0; status != EMB_OK && i < 5000; i++)
	{
		image.size_bytes = 0;
		count.fail_after = i;
		status = emb_import_dir(temp_root, NULL, &mem, NULL, &sink, &err);
		if ((status != EMB_OK && status != EMB_ERR_NOMEM) || count.n_live != 0)
			CHECKF(false, "allocation %d failing: status %d, %ld blocks left", i, status, count.n_live);
	}
	CHECK(status == EMB_OK);
	free(image.data);
}

/* What a sink was told, and what it answers. */
typedef struct Announced
{
	Image		image;
	int			n_told;
	int64_t		size_bytes;
	EmbStatus	answer;
} Announced;

static EmbStatus
announced_begin(void *ctx, int64_t size_bytes, EmbError *err)
{
	Announced  *announced = ctx;

	CHECK(announced->image.size_bytes == 0);
	announced->n_told++;
	announced->size_bytes = size_bytes;
	return announced->answer == EMB_OK ? EMB_OK : emb_error(err, announced->answer, "no room for %lld", (long long) size_bytes);
}

static void
announced_progress(void *ctx, const char *stage, int64_t done, int64_t total)
{
	(void) done;
	(void) total;
	CHECKF(((Announced *) ctx)->n_told == 1, "stage %s began before the size was told", stage);
}

/* The exact size is told once, before any weight is read; a refusal ends the import. */
static void
test_size_is_told_first(void)
{
	static const char *const precisions[] = {"int8", "fp32"};

	for (int i = 0; i < 2; i++)
	{
		EmbImportOptions options = {.precision = precisions[i]};
		Count		count;
		EmbAllocator mem = counting_allocator(&count);
		Announced	announced = {.answer = EMB_OK};
		EmbSink		sink = {.ctx = &announced, .write = image_write, .progress = announced_progress, .begin = announced_begin};
		EmbError	err;
		char		dir[PATH_MAX];

		snprintf(dir, sizeof(dir), "%s/tiny/bert-cls/model", data_dir());
		CHECKF(emb_import_dir(dir, &options, &mem, NULL, &sink, &err) == EMB_OK, "%s", err.message);
		CHECK(announced.n_told == 1 && announced.size_bytes == (int64_t) announced.image.size_bytes);
		free(announced.image.data);

		announced = (Announced) {.answer = EMB_ERR_DISK_FULL};
		CHECK(emb_import_dir(dir, &options, &mem, NULL, &sink, &err) == EMB_ERR_DISK_FULL);
		CHECK(announced.image.size_bytes == 0 && count.n_live == 0);
	}
}

/* On several threads: the same image; cancelled, out of memory, nothing is left behind. */
static void
test_threads(void)
{
	EmbImportOptions several = {.n_threads = 3};
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	Image		images[2];
	EmbSink		sink = {.ctx = &images[1], .write = image_write};
	EmbStatus	status = EMB_ERR_NOMEM;
	int			n_left;
	EmbStop		stop = {.ctx = &n_left, .should_stop = stop_after};
	EmbError	err;
	char		dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/tiny/bert-cls/model", data_dir());
	CHECKF(import_image(dir, NULL, &mem, &images[0], &err) == EMB_OK, "%s", err.message);
	CHECKF(import_image(dir, &several, &mem, &images[1], &err) == EMB_OK, "%s", err.message);
	CHECK(images[0].size_bytes == images[1].size_bytes && memcmp(images[0].data, images[1].data, images[0].size_bytes) == 0);
	CHECK(count.n_live == 0);
	for (int i = 0; i < 400; i = 2 * i + 1)
	{
		images[1].size_bytes = 0;
		n_left = i;
		status = emb_import_dir(dir, &several, &mem, &stop, &sink, &err);
		CHECKF(status == EMB_ERR_CANCELLED || (status == EMB_OK && n_left >= 0), "status %d after %d questions", status, i);
		CHECK(count.n_live == 0);
	}
	status = EMB_ERR_NOMEM;
	for (int i = 0; status != EMB_OK && i < 5000; i += 1 + i / 4)
	{
		images[1].size_bytes = 0;
		count.fail_after = i;
		status = emb_import_dir(dir, &several, &mem, NULL, &sink, &err);
		if ((status != EMB_OK && status != EMB_ERR_NOMEM) || count.n_live != 0)
			CHECKF(false, "allocation %d failing: status %d, %ld blocks left", i, status, count.n_live);
	}
	CHECK(status == EMB_OK);
	free(images[0].data);
	free(images[1].data);
	emb_threads_stop();
}

/* A Transformer in a directory of its own; weights in shards. */
static void
test_layouts(void)
{
	SmallModel	m = small_model();
	EmbAllocator mem = emb_malloc_allocator();
	char		path[PATH_MAX],
				moved[PATH_MAX];
	Image		plain,
				image;
	EmbError	err;

	write_small_model(fresh_dir(), &m);
	CHECK(import_image(temp_root, NULL, &mem, &plain, &err) == EMB_OK);

	m.modules = "[" MODULE("0_Transformer", ST "Transformer") "," MODULE("1_Pooling", ST "Pooling") "," MODULE("2_Normalize", ST "Normalize") "]";
	write_small_model(fresh_dir(), &m);
	snprintf(path, sizeof(path), "%s/0_Transformer", temp_root);
	mkdir(path, 0700);
	{
		static const char *const inner[] = {"config.json", "model.safetensors", "vocab.txt", "sentence_bert_config.json", "tokenizer_config.json"};

		for (size_t i = 0; i < sizeof(inner) / sizeof(inner[0]); i++)
		{
			snprintf(path, sizeof(path), "%s/%s", temp_root, inner[i]);
			snprintf(moved, sizeof(moved), "%s/0_Transformer/%s", temp_root, inner[i]);
			if (rename(path, moved) != 0)
				abort();
		}
	}
	CHECKF(import_image(temp_root, NULL, &mem, &image, &err) == EMB_OK, "%s", err.message);
	CHECK(image.size_bytes == plain.size_bytes && memcmp(image.data, plain.data, plain.size_bytes) == 0);
	free(image.data);
	free(plain.data);
}

int
main(void)
{
	test_cases();
	test_readings();
	test_lowercase();
	test_options();
	test_calibration();
	test_stages();
	test_extremes();
	test_special_files();
	test_dangling_links();
	test_ways_out();
	test_size_is_told_first();
	test_threads();
	test_layouts();
	return done_testing();
}
