"""What is exported, and what starting up must not load."""

import subprocess
import sys

import rm_studio


def test_the_public_names() -> None:
    assert rm_studio.__all__ == ["StudioError", "evaluate_model", "load_reward_model", "train"]
    assert all(callable(getattr(rm_studio, name)) for name in rm_studio.__all__)


def test_the_app_loads_without_torch_trl_transformers_datasets_or_argilla() -> None:
    program = (
        "import sys; import rm_studio.ui.app, rm_studio.cli; "
        "print([name for name in ('torch', 'trl', 'transformers', 'datasets', 'argilla') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_what_is_changed_while_gradio_is_imported_is_put_back() -> None:
    program = "import inspect, rm_studio.ui, gradio; inspect.getfile(gradio.Button); print('restored')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "restored"
