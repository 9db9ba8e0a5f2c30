// The very objects of the CommonJS module, so that both ways of loading share one state.
import qauth from './index.js'

export const { Engine, TokenSource, Token, Response, QauthError, source, customSource, version } = qauth
