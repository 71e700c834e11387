package ask

import "strings"

// Redact takes out of text whatever it has in common with the token, in runs of 16 bytes and more; a shorter token as a whole.
func Redact(text, token string) string {
	const run, instead = 16, "[redacted]"
	switch {
	case token == "":
		return text
	case len(token) < run:
		return strings.ReplaceAll(text, token, instead)
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		end := i + run
		if end > len(text) || !strings.Contains(token, text[i:end]) {
			out.WriteByte(text[i])
			i++
			continue
		}
		for end < len(text) && strings.Contains(token, text[i:end+1]) {
			end++
		}
		out.WriteString(instead)
		i = end
	}
	return out.String()
}
