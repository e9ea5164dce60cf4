/*
 * checkpoint.c
 *		Code that all checkpoints share.
 */
#include "import/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "import/hf_tokenizer.h"

void
emb_note(EmbCheckpoint *c, const char *hint, const char *format,...)
{
	EmbNote    *note;
	va_list		args;

	if (c == NULL || c->n_notes == EMB_CHECKPOINT_MAX_NOTES)
		return;
	note = &c->notes[c->n_notes++];
	va_start(args, format);
	vsnprintf(note->message, sizeof(note->message), format, args);
	va_end(args);
	snprintf(note->hint, sizeof(note->hint), "%s", hint);
	for (char *p = note->message; (p = strpbrk(p, "\r\n")) != NULL;)
		*p = ' ';
}

EmbStatus
emb_checkpoint_open(const char *path, const EmbCheckpointOptions *options, const EmbAllocator *mem, const EmbStop *stop,
					EmbCheckpoint *c, EmbError *err)
{
	char		file[EMB_CHECKPOINT_MAX_PATH];
	EmbStatus	status = emb_checkpoint_find_gguf(path, file, sizeof(file), err);

	*c = (EmbCheckpoint) {0};
	if (status != EMB_OK)
		return status;
	return file[0] != '\0' ? emb_checkpoint_open_gguf(file, options, mem, stop, c, err)
		: emb_checkpoint_open_dir(path, options, mem, stop, c, err);
}

void
emb_checkpoint_drop_tokenizer(EmbCheckpoint *c)
{
	if (c->tokenizer.storage != NULL)
		emb_tok_spec_free(&c->tokenizer, c->mem);
	c->tokenizer = (EmbTokSpec) {0};
}

void
emb_checkpoint_close(EmbCheckpoint *c)
{
	if (c->mem == NULL)
		return;
	emb_checkpoint_drop_tokenizer(c);
	if (c->source != NULL)
		c->source->close(c);
	emb_release(c->mem, c->query_prompt);
	emb_release(c->mem, c->document_prompt);
	emb_release(c->mem, c->instruction);
	emb_release(c->mem, c->template_storage);
	*c = (EmbCheckpoint) {0};
}
