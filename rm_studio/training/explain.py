"""What went wrong with a run, in words for its status line. No torch."""

import errno

from rm_studio.errors import StudioError


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether this is memory that ran out, on a card (torch has an error of its own) or in the machine."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in text for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def explain(error: BaseException) -> tuple[str, str]:
    """Why it went wrong, in one word that the page can act on, and what to say."""
    if isinstance(error, StudioError):
        text = str(error)
        return ("diverged" if "diverged" in text else "disk" if "disk" in text else ""), text
    if ran_out_of_memory(error):
        return "memory", (
            "There was not enough memory, even for a few pairs at once. Start again with less: a shorter maximum "
            "length, "
            "a smaller base model, or LoRA."
        )
    no_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if no_space or "No space left" in str(error):  # safetensors has an error of its own
        return "disk", (
            "The disk is full. Free some space, then press “Go on”, which continues from the last whole checkpoint; "
            "where it is not offered there was none yet, and the run starts anew."
        )
    return "", f"The run failed unexpectedly ({type(error).__name__}). Its log has the details."
