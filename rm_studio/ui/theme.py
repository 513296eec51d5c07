"""The look: one accent, quiet surfaces, the system's own fonts (so that nothing is fetched)."""

from gradio.themes import Base, Color, Size

INDIGO = Color(
    name="studio",
    c50="#f1f3fb",
    c100="#e2e7f7",
    c200="#c6cff0",
    c300="#a1afe5",
    c400="#7a8bd8",
    c500="#5468c7",
    c600="#4053ae",
    c700="#34448e",
    c800="#2b3872",
    c900="#242f5d",
    c950="#171e3d",
)
STONE = Color(
    name="stone",
    c50="#fafaf9",
    c100="#f3f3f1",
    c200="#e6e5e2",
    c300="#d2d1cc",
    c400="#a09f99",
    c500="#74736e",
    c600="#57564f",
    c700="#403f3a",
    c800="#272623",
    c900="#1b1a18",
    c950="#121110",
)
RADIUS = Size(name="studio", xxs="2px", xs="4px", sm="6px", md="8px", lg="10px", xl="12px", xxl="16px")
SANS = [
    "ui-sans-serif",
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Helvetica Neue",
    "Arial",
    "sans-serif",
]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

TRAIN_COLOUR, HELD_OUT_COLOUR = "#7a8bd8", "#d9822b"
RUN_COLOURS = ["#d9822b", "#5468c7", "#2f9e77", "#b8489a", "#8a8983", "#c2a300"]


def theme() -> Base:
    """The theme; finer points are in ``assets/studio.css``."""
    return Base(
        primary_hue=INDIGO,
        secondary_hue=INDIGO,
        neutral_hue=STONE,
        radius_size=RADIUS,
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        block_shadow="none",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        input_border_width="1px",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        button_cancel_background_fill="#a32a2a",
        button_cancel_background_fill_hover="#8a2020",
        button_cancel_background_fill_dark="#a33c3c",
        button_cancel_background_fill_hover_dark="#b84a4a",
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
        button_border_width="1px",
        button_large_text_weight="600",
    )
