#include "engine/metadata/handshake_frame.h"

#include <string.h>
#include <sys/socket.h>

#define LENGTH_SIZE 8u
/* Mooncake has given out types up to this; a text begins with '{' or a blank. */
#define TYPE_KNOWN_MAX 2u
#define PIECE_SIZE     16384u

void handshake_frame_put(struct writer *w, enum handshake_type type, const char *text)
{
	size_t size = strlen(text);

	put_u64(w, size + 1);
	put_u8(w, (uint8_t)type);
	put_bytes(w, text, size);
}

enum mc_status handshake_frame_size(const struct writer *in, size_t *size)
{
	*size = 0;
	if (in->size < LENGTH_SIZE)
		return MC_OK;
	uint64_t length = load_u64(in->data);
	if (length == 0 || length > HANDSHAKE_SIZE_MAX)
		return MC_PROTOCOL;
	*size = LENGTH_SIZE + (size_t)length;
	return MC_OK;
}

void handshake_frame_take(struct writer *in, uint8_t *type, const char **text, size_t *size)
{
	size_t at = LENGTH_SIZE;

	*type = in->data[at];
	if (*type <= TYPE_KNOWN_MAX)
		at++;
	else
		*type = HANDSHAKE_CONNECTION;
	*size = in->size - at;
	put_u8(in, 0);
	*text = in->failed ? NULL : (const char *)in->data + at;
}

ssize_t handshake_frame_receive(int fd, struct writer *in, size_t wanted)
{
	size_t room = wanted > in->size ? wanted - in->size : LENGTH_SIZE - in->size;
	uint8_t piece[PIECE_SIZE];
	ssize_t got = recv(fd, piece, room < sizeof(piece) ? room : sizeof(piece), MSG_DONTWAIT);

	if (got > 0)
		put_bytes(in, piece, (size_t)got);
	return got;
}
