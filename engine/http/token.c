#include "engine/http/token.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/log.h"

static bool private(int fd)
{
	struct stat stat;

	if (fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode) || (stat.st_mode & 077))
		return false;
	return stat.st_uid == 0 || stat.st_uid == geteuid();
}

static enum mc_status read_line(const char *path, struct token *token)
{
	char line[TOKEN_SIZE_MAX + 2];
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return mc_status_from_errno(errno);
	if (!private(fd))
		return MC_ACCESS;
	ssize_t size = read(fd, line, sizeof(line));
	if (size < 0)
		return MC_IO;
	size_t length = 0;
	while (length < (size_t)size && line[length] > ' ' && line[length] <= '~')
		length++;
	bool ended = length == (size_t)size || line[length] == '\n' || line[length] == '\r';
	if (!ended || length < TOKEN_SIZE_MIN || length > TOKEN_SIZE_MAX)
		return MC_INVALID;
	memset(token, 0, sizeof(*token));
	memcpy(token->text, line, length);
	return MC_OK;
}

enum mc_status token_read(const char *path, struct token *token)
{
	enum mc_status status = read_line(path, token);

	if (status != MC_OK)
		log_error("no token in the file, it must be yours, mode 0600, one line of 16 to "
			  "512 characters path=%s reason=\"%s\"",
			  path, mc_status_text(status));
	return status;
}

bool token_fits(const struct token *token, const char *authorization)
{
	static const char scheme[] = "Bearer ";
	size_t size = strlen(token->text);
	unsigned char differs = 0;

	if (size == 0 || !authorization ||
	    strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0)
		return false;
	const char *said = authorization + sizeof(scheme) - 1;
	if (strlen(said) != size)
		return false;
	for (size_t i = 0; i < size; i++)
		differs |= (unsigned char)(said[i] ^ token->text[i]);
	return differs == 0;
}
